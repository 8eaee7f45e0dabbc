/** What SFTP asks for and the agent's messages lack, done by the guest's own programs. */
import {
  errnoError,
  type FileSystemStat,
  SftpError,
  type SftpFileSystem,
  STATUS,
} from '@sandbox-ssh/sftp'
import type { AgentClient } from './agent/client.ts'
import { AgentError } from './agent/error.ts'
import { joined } from './agent/fs.ts'

/** Most output of such a program that is looked at. */
const OUTPUT_BYTES_MAX = 64 * 1024
/** A program that takes longer is given up; a disk under load may take seconds to sync. */
const TOOL_MS = 30_000
/** Where they are looked for. */
const DIRECTORIES = ['/usr/bin', '/bin', '/usr/local/bin']

/** What a program said and how it ended. */
interface ToolResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Puts a file, by its absolute path, on stable storage; undefined if the guest cannot. */
export type SyncTool = ((path: string) => Promise<void>) | undefined

/** What the guest's programs add to a file system. */
export interface FileTools extends Pick<SftpFileSystem, 'hardlink' | 'statvfs'> {
  readonly sync: SyncTool
}

/**
 * The operations this guest has programs for; the others stay absent, so that servers do not
 * announce them. `absolute` makes paths as the guest takes them.
 */
export async function fileTools(
  agent: AgentClient,
  absolute: (path: string) => string,
): Promise<FileTools> {
  const [ln, stat, sync] = await Promise.all(
    ['ln', 'stat', 'sync'].map((name) => findTool(agent, name)),
  )
  return {
    sync: sync === undefined ? undefined : (path) => syncFile(agent, sync, path),
    ...(ln === undefined
      ? {}
      : {
          hardlink: async (existingPath: string, linkPath: string): Promise<void> => {
            const [from, to] = [absolute(existingPath), absolute(linkPath)]
            // `ln` would put the link into a directory of that name.
            await requireAbsent(agent, to)
            // As link(2) on Linux: a symbolic link is linked itself, not what it leads to.
            const result = await runTool(agent, ln, ['-P', '--', from, to])
            if (result.code !== 0) throw toolError(result.stderr)
          },
        }),
    ...(stat === undefined
      ? {}
      : {
          statvfs: async (path: string): Promise<FileSystemStat> => {
            const format = '%s %S %b %f %a %c %d %i %l'
            const target = absolute(path)
            const result = await runTool(agent, stat, ['-f', '-c', format, '--', target])
            if (result.code !== 0) throw toolError(result.stderr)
            return parseStat(result.stdout)
          },
        }),
  }
}

/** With what cannot sync one file, or if that has another name by now, everything is synced. */
async function syncFile(agent: AgentClient, sync: string, path: string): Promise<void> {
  const one = await runTool(agent, sync, [path])
  if (one.code === 0) return
  const all = await runTool(agent, sync, [])
  if (all.code !== 0) throw toolError(one.stderr)
}

/** Reads the line of `stat -f`. @throws SftpError if it is not one */
export function parseStat(text: string): FileSystemStat {
  const [blockSize, fragmentSize, blocks, free, available, files, filesFree, id, nameMax] = text
    .trim()
    .split(' ')
  const number = (word: string | undefined): number => {
    const value = Number(word)
    if (word === undefined || !/^\d+$/.test(word) || !Number.isFinite(value)) {
      throw new SftpError(STATUS.FAILURE, 'the guest gave no figures of its file system')
    }
    return value
  }
  return {
    blockSize: number(blockSize),
    fragmentSize: number(fragmentSize),
    blocks: number(blocks),
    blocksFree: number(free),
    blocksAvailable: number(available),
    files: number(files),
    filesFree: number(filesFree),
    filesAvailable: number(filesFree),
    fileSystemId: /^[0-9a-f]{1,16}$/i.test(id ?? '') ? BigInt(`0x${id}`) : 0n,
    // `stat -f` does not tell how it is mounted.
    flags: 0,
    nameBytesMax: number(nameMax),
  }
}

/** The path of one of the guest's own programs, if it is where such programs are. */
export async function findTool(agent: AgentClient, name: string): Promise<string | undefined> {
  const paths = DIRECTORIES.map((directory) => `${directory}/${name}`)
  const found = await Promise.all(paths.map((path) => isProgram(agent, path)))
  return paths.find((_, index) => found[index])
}

/** Whether the guest has a file there that may be run. */
export async function isProgram(agent: AgentClient, path: string): Promise<boolean> {
  try {
    const { kind, mode } = await agent.fs('Stat', { path, follow_symlink: true })
    return kind === 'file' && (mode & 0o111) !== 0
  } catch (error) {
    if (error instanceof AgentError && error.kind === 'fs') return false
    throw error
  }
}

async function requireAbsent(agent: AgentClient, path: string): Promise<void> {
  try {
    await agent.fs('Stat', { path, follow_symlink: false })
  } catch (error) {
    if (error instanceof AgentError && error.kind === 'fs') return
    throw error
  }
  throw errnoError('EEXIST')
}

/** Runs a program to its end with messages in English, as those of `toolError` are. */
async function runTool(
  agent: AgentClient,
  command: string,
  args: readonly string[],
): Promise<ToolResult> {
  const env = new Map([['LC_ALL', 'C']])
  const program = await agent.exec({ command, args, env, cwd: '/' })
  const timer = setTimeout(() => program.signal('KILL'), TOOL_MS)
  try {
    await program.end()
    const [stdout, stderr, exit] = await Promise.all([
      gather(() => program.read()),
      gather(() => program.readStderr()),
      program.exited,
    ])
    return { code: exit.code, stdout, stderr }
  } finally {
    clearTimeout(timer)
  }
}

/** Everything is read, so that the program can end; not all of it is kept. */
async function gather(read: () => Promise<Uint8Array | undefined>): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for (let chunk = await read(); chunk !== undefined; chunk = await read()) {
    if (bytes < OUTPUT_BYTES_MAX) chunks.push(chunk)
    bytes += chunk.length
  }
  return new TextDecoder().decode(joined(chunks))
}

/** The error a program of coreutils or busybox ended with, from the words at its end. */
function toolError(stderr: string): SftpError {
  const words = stderr.trim().split('\n')[0] ?? ''
  const reason = words.slice(words.lastIndexOf(': ') + 2)
  const name = REASONS.get(reason)
  return name === undefined
    ? new SftpError(STATUS.FAILURE, reason === '' ? undefined : reason)
    : errnoError(name)
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['No such file or directory', 'ENOENT'],
  ['Permission denied', 'EACCES'],
  ['Operation not permitted', 'EPERM'],
  ['File exists', 'EEXIST'],
  ['Not a directory', 'ENOTDIR'],
  ['Invalid cross-device link', 'EXDEV'],
  ['Cross-device link', 'EXDEV'],
  ['Read-only file system', 'EROFS'],
  ['No space left on device', 'ENOSPC'],
  ['Too many links', 'EMLINK'],
  ['File name too long', 'ENAMETOOLONG'],
])
