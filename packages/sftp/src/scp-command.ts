/**
 * The command line that starts the other side: `scp -t TARGET` to receive there, `scp -f PATH…` to
 * send. Written for servers with a shell, and read so that a server without scp can stand in for it.
 */
import { SshError, type Transport } from '@sandbox-ssh/protocol'
import type { SftpFileSystem } from './file-system.ts'
import { baseName, encodePath } from './path.ts'
import { type ScpOptions, type ScpResult, scpReceive, scpSend } from './scp.ts'
import { expandScpPath, type ScpPath } from './scp-patterns.ts'

/** What `scp -t` or `scp -f` asks for. */
export interface ScpCommand {
  /** `source` sends (`-f`), `sink` receives (`-t`). */
  readonly side: 'source' | 'sink'
  readonly recursive: boolean
  readonly preserve: boolean
  /** The target must be a directory. */
  readonly directory: boolean
  /** One for a sink, at least one for a source. */
  readonly paths: readonly string[]
  /** For each path of a source, where it has a `*` or `?` that stands for others; absent if none has. */
  readonly wildcards?: readonly (readonly number[])[]
}

/**
 * The command line, its paths quoted for a POSIX shell.
 *
 * @example
 * import { formatScpCommand } from '@sandbox-ssh/sftp'
 *
 * const flags = { recursive: true, preserve: false, directory: false }
 * console.log(formatScpCommand({ side: 'sink', paths: ['/my files'], ...flags })) // scp -tr -- '/my files'
 */
export function formatScpCommand(command: ScpCommand): string {
  const flags =
    (command.side === 'source' ? '-f' : '-t') +
    (command.recursive ? 'r' : '') +
    (command.preserve ? 'p' : '') +
    (command.directory ? 'd' : '')
  return ['scp', flags, '--', ...command.paths.map(quote)].join(' ')
}

function quote(path: string): string {
  // A leading ~ is meant, as it is for scp; everything else is a name.
  const home = /^~[\w.-]*(?=\/|$)/.exec(path)?.[0] ?? ''
  const rest = path.slice(home.length)
  return home + (rest === '' ? '' : `'${rest.replaceAll("'", "'\\''")}'`)
}

/**
 * Reads a command line as a POSIX shell would, if it is scp's own and needs no shell: quotes and
 * backslashes are understood, and the patterns `*` and `?` of a source; variables, pipes and the
 * like are not, nor is any other command. Undefined then: a shell has to run it. Bytes that are no
 * text are read by `decodePath`.
 *
 * @example
 * import { parseScpCommand } from '@sandbox-ssh/sftp'
 *
 * const command = parseScpCommand("scp -r -t '/my files'")
 * console.log(command?.side, command?.paths) // sink [ '/my files' ]
 * console.log(parseScpCommand('scp -t $HOME')) // undefined
 */
export function parseScpCommand(line: string): ScpCommand | undefined {
  const words = splitWords(line)
  if (words === undefined || baseName(words[0]?.text ?? '') !== 'scp') return undefined
  let side: ScpCommand['side'] | undefined
  let recursive = false
  let preserve = false
  let directory = false
  let at = 1
  for (; at < words.length; at++) {
    const word = words[at]?.text ?? ''
    if (word === '--') {
      at++
      break
    }
    if (!/^-[^-]/.test(word)) break
    for (const letter of word.slice(1)) {
      if (letter === 'f') side = 'source'
      else if (letter === 't') side = 'sink'
      else if (letter === 'r') recursive = true
      else if (letter === 'p') preserve = true
      else if (letter === 'd') directory = true
      // Verbose, quiet, batch, and compression, which is not scp's business on this side.
      else if (!'vqBC'.includes(letter)) return undefined
    }
  }
  const operands = words.slice(at)
  if (side === undefined || operands.length === 0) return undefined
  if (words.slice(0, at).some(({ wildcards }) => wildcards.length > 0)) return undefined
  const hasWildcards = operands.some(({ wildcards }) => wildcards.length > 0)
  if (side === 'sink' && (operands.length !== 1 || hasWildcards)) return undefined
  const paths = operands.map(({ text }) => text)
  const wildcards = operands.map((operand) => operand.wildcards)
  return { side, recursive, preserve, directory, paths, ...(hasWildcards && { wildcards }) }
}

/** Words of a command line; undefined if it needs a shell for more than quotes, `~`, `*` and `?`. */
function splitWords(line: string): ScpPath[] | undefined {
  const words: ScpPath[] = []
  let word: string | undefined
  let wildcards: number[] = []
  const end = (): void => {
    if (word !== undefined) words.push({ text: word, wildcards })
    word = undefined
    wildcards = []
  }
  for (let at = 0; at < line.length; at++) {
    const character = line[at] ?? ''
    if (character === "'") {
      const closing = line.indexOf("'", at + 1)
      if (closing < 0) return undefined
      word = (word ?? '') + line.slice(at + 1, closing)
      at = closing
    } else if (character === '"') {
      const inner = /^"((?:[^"\\$`]|\\[\s\S])*)"/.exec(line.slice(at))
      if (inner === null) return undefined
      word = (word ?? '') + (inner[1] ?? '').replace(/\\(["\\$`])/g, '$1')
      at += inner[0].length - 1
    } else if (character === '\\') {
      const next = line[++at]
      if (next === undefined || next === '\n') return undefined
      word = (word ?? '') + next
    } else if (character === ' ' || character === '\t') {
      end()
    } else if ('$`[]{}()<>|&;!#\n'.includes(character)) return undefined
    else {
      if (character === '*' || character === '?') wildcards.push(word?.length ?? 0)
      word = (word ?? '') + character
    }
  }
  end()
  return words
}

/**
 * Runs what a command asks for over a session's stdin and stdout, and gives the exit status: 0, or 1
 * if anything was not copied. Rejects as `scpSend` and `scpReceive`.
 *
 * @example
 * import { memoryPair } from '@sandbox-ssh/protocol'
 * import { memoryFileSystem, parseScpCommand, scpSend, serveScp } from '@sandbox-ssh/sftp'
 *
 * const [near, far] = memoryPair()
 * const [here, there] = [memoryFileSystem(), memoryFileSystem()]
 * await here.mkdir('/site', 0o755)
 * const command = parseScpCommand('scp -r -t /srv')
 * if (command === undefined) throw new Error('not scp')
 * const serving = serveScp(far, there, command)
 * await scpSend(near, here, ['/site'], { recursive: true })
 * await near.close()
 * console.log(await serving, (await there.stat('/srv')).mode !== undefined) // 0 true
 */
export async function serveScp(
  transport: Transport,
  files: SftpFileSystem,
  command: ScpCommand,
  options: Pick<ScpOptions, 'signal'> = {},
): Promise<number> {
  const { recursive, preserve, directory, side } = command
  const paths: string[] = []
  for (const [index, text] of command.paths.entries()) {
    const wildcards = command.wildcards?.[index] ?? []
    paths.push(...(await expandScpPath(files, await withHome(files, { text, wildcards }))))
  }
  const [target = '.'] = paths
  const both = { recursive, preserve, ...options }
  const { errors } =
    side === 'source'
      ? await scpSend(transport, files, paths, both)
      : await scpReceive(transport, files, target || '.', { ...both, directory })
  return errors.length === 0 ? 0 : 1
}

/** `~` as the shell would have expanded it. */
async function withHome(files: SftpFileSystem, path: ScpPath): Promise<ScpPath> {
  const { text, wildcards } = path
  const [home] = /^~[^/]*/.exec(text) ?? []
  if (home === undefined || files.homeDirectory === undefined) return path
  const found = await files.homeDirectory(home.slice(1)).catch(() => undefined)
  if (found === undefined) return path
  const shift = found.length - home.length
  const moved = wildcards.filter((at) => at >= home.length).map((at) => at + shift)
  return { text: found + text.slice(home.length), wildcards: moved }
}

/** What is needed of an SSH client to start scp at the other end. */
export interface ScpClient {
  exec(
    command: Uint8Array,
    options: { readonly stderr: 'ignore' },
  ): Promise<{ readonly channel: Transport }>
}

/**
 * Fetches a file or tree with the server's `scp`: for servers without SFTP. `localPath` may be an
 * existing directory. Rejects and reports as `scpReceive`, and `SSH_REQUEST_REFUSED` if nothing came.
 *
 * @example
 * import { memoryFileSystem, parseScpCommand, scpGet, serveScp } from '@sandbox-ssh/sftp'
 *
 * // A server that knows scp and nothing else.
 * const there = memoryFileSystem()
 * const client = await pair({
 *   exec: async ({ command, transport }) => {
 *     const scp = parseScpCommand(command)
 *     return scp === undefined ? 127 : serveScp(transport, there, scp)
 *   },
 * })
 * await there.mkdir('/logs', 0o755)
 * const here = memoryFileSystem()
 * const { errors } = await scpGet(client, '/logs', here, '/copy', { recursive: true })
 * console.log(errors.length, (await here.stat('/copy')).mode !== undefined) // 0 true
 */
export async function scpGet(
  client: ScpClient,
  remotePath: string,
  local: SftpFileSystem,
  localPath: string,
  options: ScpOptions = {},
): Promise<ScpResult> {
  const channel = await start(client, 'source', remotePath, options)
  try {
    const name = baseName(remotePath)
    const isPlain = name !== '.' && name !== '..' && name !== '/' && !name.startsWith('~')
    const expected = (sent: string): boolean => !isPlain || sent === name
    const result = await scpReceive(channel, local, localPath, { ...options, expected })
    if (result.files + result.directories === 0 && result.errors.length === 0) {
      throw new SshError('SSH_REQUEST_REFUSED', 'the server has no scp, or it sent nothing')
    }
    await channel.close()
    return result
  } catch (error) {
    channel.abort(error)
    throw refusal(error)
  }
}

/**
 * Brings a file or tree to the server with its `scp`. Rejects and reports as `scpSend`.
 *
 * @example
 * import { memoryFileSystem, parseScpCommand, scpPut, serveScp } from '@sandbox-ssh/sftp'
 *
 * const there = memoryFileSystem()
 * const client = await pair({
 *   exec: async ({ command, transport }) => {
 *     const scp = parseScpCommand(command)
 *     return scp === undefined ? 127 : serveScp(transport, there, scp)
 *   },
 * })
 * const here = memoryFileSystem()
 * await here.mkdir('/site', 0o755)
 * const { errors } = await scpPut(client, here, '/site', '/srv', { recursive: true })
 * console.log(errors.length, (await there.stat('/srv')).mode !== undefined) // 0 true
 */
export async function scpPut(
  client: ScpClient,
  local: SftpFileSystem,
  localPath: string,
  remotePath: string,
  options: ScpOptions = {},
): Promise<ScpResult> {
  const channel = await start(client, 'sink', remotePath, options)
  try {
    const result = await scpSend(channel, local, [localPath], options)
    await channel.close()
    return result
  } catch (error) {
    channel.abort(error)
    throw refusal(error)
  }
}

/** A channel that closes in the middle is that of a command that was not there, or gave up. */
function refusal(error: unknown): unknown {
  if (!(error instanceof SshError && error.code === 'SSH_CHANNEL_CLOSED')) return error
  return new SshError('SSH_REQUEST_REFUSED', 'the server has no scp, or it ended', { cause: error })
}

async function start(
  client: ScpClient,
  side: ScpCommand['side'],
  path: string,
  { recursive = false, preserve = false }: ScpOptions,
): Promise<Transport> {
  const command = { side, recursive, preserve, directory: false, paths: [path] }
  const line = encodePath(formatScpCommand(command))
  return (await client.exec(line, { stderr: 'ignore' })).channel
}
