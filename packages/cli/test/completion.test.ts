/** Completion as somebody at a prompt gets it: the scripts in the shells that they are for. */
// Time limit: 180 s
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  endTerminals,
  finished,
  inTerminal,
  msb,
  msbEnv,
  msbPath,
  temporaryDirectory,
} from './msb.ts'

const home = temporaryDirectory()
mkdirSync(join(home, 'sandboxes', 'devbox'), { recursive: true })
mkdirSync(join(home, 'local', 'tinybox'), { recursive: true })
const bin = join(home, 'bin')
mkdirSync(bin)
chmodSync(msbPath, 0o755)
symlinkSync(msbPath, join(bin, 'msb'))
const env = { ...msbEnv(home), PATH: `${bin}:${process.env['PATH']}` }
test.after(endTerminals)

/** The test for a shell, skipped where it is not installed. */
function withShell(shell: string, title: string, body: () => Promise<void>): void {
  const isThere = spawnSync(shell, ['--version']).status === 0
  if (!isThere) console.log(`skipped: ${shell} is not installed (apt install ${shell})`)
  ;(isThere ? test : test.skip)(`${shell}: ${title}`, body)
}

async function script(shell: string): Promise<string> {
  const path = join(home, `completion.${shell}`)
  writeFileSync(path, (await msb(['ssh', 'completion', shell], { home })).stdout)
  return path
}

/** What is typed, with a tab at its end, and what must then stand on the line. */
const lines: readonly (readonly [typed: string, completed: string])[] = [
  ['msb ssh serve dev', 'msb ssh serve devbox'],
  ['msb ssh local:ti', 'msb ssh local:tinybox'],
  ['msb ssh authorize --rev', 'msb ssh authorize --revoke'],
  ['msb ssh doc', 'msb ssh doctor'],
]

/** Types at a prompt and lets the shell show its line again. */
async function atPrompt(file: string, args: readonly string[], setup: string): Promise<void> {
  const run = inTerminal(file, args, env)
  run.type(`${setup}; echo re"ad"y\r`)
  await run.expect(/ready\r?\n/)
  for (const [typed, completed] of lines) {
    run.type(`${typed}\t`)
    await run.expect(new RegExp(completed.replace(/[.]/g, '\\.')))
    run.type('\u0015')
  }
  run.type('exit\r')
  await run.exit
}

withShell('bash', 'a tab completes commands, options and sandboxes', async () => {
  const path = await script('bash')
  await atPrompt('bash', ['--norc', '--noprofile', '-i'], `source ${path}`)
})

withShell('zsh', 'a tab completes commands, options and sandboxes', async () => {
  const path = await script('zsh')
  const setup = `autoload -Uz compinit; compinit -u -D; source ${path}`
  await atPrompt('zsh', ['-f', '-i'], setup)
})

withShell('fish', 'it is asked for commands, options and sandboxes', async () => {
  const path = await script('fish')
  for (const [typed, completed] of lines) {
    const command = `source ${path}; complete --do-complete '${typed}'`
    const shell = spawn('fish', ['--no-config', '-c', command], { env })
    const { stdout, stderr } = await finished(shell)
    const wanted = completed.slice(completed.lastIndexOf(' ') + 1)
    assert.equal(stdout.toString().split('\n').filter(Boolean), [wanted], stderr)
  }
})

test.run()
