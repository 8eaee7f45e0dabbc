/** `msb ssh doctor`: looks for what usually goes wrong, and says how to mend it. */
import { spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type Home, readAuthorizedKeys, readHostKey, sandbox } from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { EXIT_LOCAL_ERROR, explain } from '../failure.ts'
import { SERVER_PORT } from '../forward-spec.ts'
import { print } from '../print.ts'
import type { DoctorCommand } from '../tool-args.ts'

/** How long a sandbox may take to answer, being started included. */
const ANSWER_MS = 30_000
const NODE_LEAST = [20, 19] as const
/** The generation of the agent protocol from which files and ports can be reached. */
const GENERATION_FILES = 2
const GENERATION_PORTS = 4

/** What one look found; `bad` fails the command, `note` does not. */
interface Finding {
  readonly state: 'good' | 'note' | 'bad'
  readonly text: string
  /** What to do about it. */
  readonly remedy?: string
}

/** Prints what it found and returns the exit code: 1 if something is bad. */
export async function doctor(command: DoctorCommand, context: CommandContext): Promise<number> {
  let bad = 0
  const look = async (about: string, examine: () => Promise<Finding> | Finding): Promise<void> => {
    let finding: Finding
    try {
      finding = await examine()
    } catch (error) {
      finding = { state: 'bad', text: explain(error) }
    }
    if (finding.state === 'bad') bad++
    await print(format(about, finding))
  }
  await look('node', nodeVersion)
  await look('home', () => homeDirectory(context.home()))
  await look('keys', () => keysIn(context.home(), command.sandbox))
  await look('terminals', terminals)
  await look('ssh', sshClient)
  await look('port', () => port(SERVER_PORT))
  const { sandbox: name } = command
  if (name !== undefined) {
    await look('host key', () => hostKey(name, context))
    await look('sandbox', () => reach(name, context))
    await look('config', () => sshConfig(context.home()))
  }
  return bad === 0 ? 0 : EXIT_LOCAL_ERROR
}

function format(about: string, { state, text, remedy }: Finding): string {
  const mark = { good: '✓', note: '-', bad: '✗' }[state]
  const clean = (line: string): string => line.replace(/\p{Cc}/gu, ' ')
  const line = `${mark} ${about.padEnd(9)} ${clean(text)}\n`
  return remedy === undefined ? line : `${line}${' '.repeat(12)}${clean(remedy)}\n`
}

function nodeVersion(): Finding {
  const { version } = process
  const [major = 0, minor = 0] = version.slice(1).split('.').map(Number)
  const [wantedMajor, wantedMinor] = NODE_LEAST
  const isNew = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
  if (isNew) return { state: 'good', text: version }
  return { state: 'bad', text: version, remedy: `install Node ${NODE_LEAST.join('.')} or newer` }
}

function homeDirectory(home: Home): Finding {
  const stats = statSync(home.path, { throwIfNoEntry: false })
  if (stats === undefined) return { state: 'note', text: `${home.path} is made when first needed` }
  if (!stats.isDirectory()) {
    return { state: 'bad', text: `${home.path} is no directory`, remedy: 'move it out of the way' }
  }
  return { state: 'good', text: home.path }
}

function keysIn(home: Home, name: string | undefined): Finding {
  const { keys, warnings } = readAuthorizedKeys(home, name)
  const [warning] = warnings
  if (warning !== undefined) {
    return { state: 'bad', text: warning, remedy: 'correct that line; it lets nobody in' }
  }
  const usable = keys.filter(({ options }) => (options.expiryMs ?? Infinity) > Date.now())
  if (usable.length > 0) return { state: 'good', text: `${usable.length} may enter` }
  const remedy = 'for clients from outside: msb ssh authorize --file ~/.ssh/id_ed25519.pub'
  return { state: 'note', text: 'no keys may enter yet', remedy }
}

async function terminals(): Promise<Finding> {
  try {
    await import('@lydell/node-pty')
    return { state: 'good', text: 'embedded sandboxes have terminals' }
  } catch {
    const text = 'embedded sandboxes (local:NAME) have no terminals'
    return { state: 'note', text, remedy: 'npm install @lydell/node-pty beside msb' }
  }
}

function sshClient(): Finding {
  const { stderr, error } = spawnSync('ssh', ['-V'], { encoding: 'utf8', timeout: 10_000 })
  if (error === undefined) return { state: 'good', text: stderr.trim() }
  const text = 'no ssh program; msb ssh NAME needs none'
  return { state: 'note', text, remedy: 'for scp, rsync and editors install the OpenSSH client' }
}

function port(number: number): Promise<Finding> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is in use' : error.message
      const remedy = 'msb ssh serve NAME --port 0 takes a free one'
      resolve({ state: 'note', text: `127.0.0.1:${number} ${why}`, remedy })
    })
    server.listen({ host: '127.0.0.1', port: number }, () => {
      server.close(() => resolve({ state: 'good', text: `127.0.0.1:${number} is free` }))
    })
  })
}

async function hostKey(name: string, context: CommandContext): Promise<Finding> {
  const { hostKeyPath } = sandbox(name, { home: context.home() })
  const key = hostKeyPath === undefined ? undefined : await readHostKey(hostKeyPath)
  if (key === undefined) return { state: 'note', text: 'made by the first msb ssh serve or config' }
  return { state: 'good', text: `${key.type} ${key.fingerprint()}` }
}

async function reach(name: string, context: CommandContext): Promise<Finding> {
  const notes: string[] = []
  const box = sandbox(name, {
    home: context.home(),
    onWarning: (message) => notes.push(message),
  })
  const agent = await box.connectAgent({ signal: AbortSignal.timeout(ANSWER_MS) })
  const { generation, ready } = agent
  await agent.close()
  const version = ready.agent_version === undefined ? '' : `, version ${ready.agent_version}`
  const text = `answers; agent of generation ${generation}${version}`
  const lacks =
    generation < GENERATION_FILES
      ? 'files and ports'
      : generation < GENERATION_PORTS
        ? 'ports'
        : undefined
  if (lacks !== undefined) {
    return { state: 'note', text: `${text}: no ${lacks}`, remedy: 'update it: stop and start it' }
  }
  const [note] = notes
  return note === undefined ? { state: 'good', text } : { state: 'note', text, remedy: note }
}

function sshConfig(home: Home): Finding {
  const path = join(homedir(), '.ssh', 'config')
  const ours = join(home.sshPath, 'config')
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    // Not there, or not ours to read: then nothing is included.
  }
  if (text.includes(`Include "${ours}"`)) {
    return { state: 'good', text: `${path} includes ${ours}` }
  }
  const remedy = 'for ssh NAME.msb: msb ssh config NAME --write'
  return { state: 'note', text: `${path} does not include ${ours}`, remedy }
}
