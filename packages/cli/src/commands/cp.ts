/** `msb ssh cp SRC… DST`: files and trees into a sandbox, out of it, or from one to another. */
import * as fs from 'node:fs/promises'
import { sandbox } from '@sandbox-ssh/sandbox-bridge'
import {
  baseName,
  type CopyOptions,
  type CopyResult,
  copyTree,
  isDirectory,
  joinPath,
  nodeFileSystem,
  type SftpClient,
  SftpError,
  type SftpFileSystem,
  TransferError,
} from '@sandbox-ssh/sftp'
import type { CommandContext } from '../context.ts'
import { type CopySide, formatCopySide, formatServer, parseCopySide } from '../copy-spec.ts'
import { CliError, EXIT_LOCAL_ERROR, explain } from '../failure.ts'
import { ProgressLine } from '../progress.ts'
import { whileRunning } from '../running.ts'
import { handleSignals, signalExitCode } from '../signals.ts'
import type { CopyCommand } from '../tool-args.ts'
import { withServerFiles } from './server-files.ts'

/** A side with its files at hand. */
interface OpenSide {
  readonly side: CopySide
  readonly files: SftpFileSystem
}

/** Copies and returns the exit code: 0 if everything was copied. */
export async function cp(command: CopyCommand, context: CommandContext): Promise<number> {
  const sides = command.paths.map(parseCopySide)
  const target = sides.pop()
  if (target === undefined) throw new CliError('there is nothing to copy to')
  const places = new Map<string, RemoteSide>()
  for (const side of [...sides, target]) {
    if (side.kind !== 'local') places.set(placeOf(side), side)
  }
  if (places.size === 0) throw new CliError('one side must be in a sandbox, as in devbox:/path')
  return withPlaces([...places.values()], command, context, async (open) =>
    copyAll(await Promise.all(sides.map(open)), await open(target), command, context),
  )
}

type RemoteSide = Exclude<CopySide, { readonly kind: 'local' }>

/** One session is opened for each. */
function placeOf(side: RemoteSide): string {
  return side.kind === 'remote' ? side.sandbox : formatServer(side.server)
}

/** Opens SFTP into each place, one inside the other, and ends them all. */
async function withPlaces(
  places: readonly RemoteSide[],
  command: CopyCommand,
  context: CommandContext,
  work: (open: (side: CopySide) => Promise<OpenSide>) => Promise<number>,
): Promise<number> {
  const local = nodeFileSystem(fs)
  const sessions = new Map<string, SftpClient>()
  const open = async (side: CopySide): Promise<OpenSide> => {
    if (side.kind === 'local') return { side, files: local }
    const sftp = sessions.get(placeOf(side))
    if (sftp === undefined) throw new CliError(`${formatCopySide(side)} is not open`)
    // Here the shell has done so already.
    const isHome = side.path.startsWith('~')
    const path = isHome ? await sftp.expandPath(side.path) : side.path
    return { side: { ...side, path }, files: sftp.fileSystem }
  }
  const openNext = async (rest: readonly RemoteSide[]): Promise<number> => {
    const [place, ...others] = rest
    if (place === undefined) return work(open)
    const opened = (sftp: SftpClient): Promise<number> => {
      sessions.set(placeOf(place), sftp)
      return openNext(others)
    }
    if (place.kind === 'server') {
      if (command.user !== undefined) {
        throw new CliError('--user is of sandboxes here; the login of a server stands in its name')
      }
      return withServerFiles(place.server, context, opened)
    }
    const box = sandbox(place.sandbox, {
      home: context.home(),
      onWarning: (message) => context.output.warn(message),
    })
    const options = { whenUnsure: 'leave', client: { user: command.user } } as const
    return whileRunning(box, context, options, async (client) => opened(await client.sftp()))
  }
  return openNext(places)
}

async function copyAll(
  sources: readonly OpenSide[],
  target: OpenSide,
  command: CopyCommand,
  { output }: CommandContext,
): Promise<number> {
  const { stderr } = process
  const line = stderr.isTTY && !command.quiet ? new ProgressLine(stderr) : undefined
  const ending = new AbortController()
  let endedBy: NodeJS.Signals | undefined
  const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) => {
    endedBy = signal
    ending.abort(new Error(`ended by ${signal}`))
  })
  let failures = 0
  const failed = (what: string, error: unknown): void => {
    failures++
    line?.clear()
    const reason = explain(error)
    const path =
      error instanceof SftpError || error instanceof TransferError ? error.targetPath : undefined
    if (path === undefined) output.error(reason.includes(what) ? reason : `${what}: ${reason}`)
    // It begins with the path; whose that is has to be told as well.
    else output.error(reason.replace(path, () => formatCopySide({ ...target.side, path })))
  }
  const intoDirectory = await isIntoDirectory(sources.length, target)
  try {
    for (const source of sources) {
      const to = intoDirectory ? joinPath(target.side.path, await nameOf(source)) : target.side.path
      const options: CopyOptions = {
        recursive: command.recursive,
        preserve: command.preserve,
        resume: command.resume,
        signal: ending.signal,
        onError: failed,
        ...(line === undefined ? {} : { onProgress: (progress) => line.update(progress) }),
      }
      try {
        await copyOne(source, { ...target, to }, options)
      } catch (error) {
        if (endedBy !== undefined) return signalExitCode(endedBy)
        failed(formatCopySide(source.side), error)
      }
      if (endedBy !== undefined) return signalExitCode(endedBy)
    }
  } finally {
    stop()
    line?.clear()
  }
  return failures === 0 ? 0 : EXIT_LOCAL_ERROR
}

function copyOne(
  source: OpenSide,
  target: OpenSide & { readonly to: string },
  options: CopyOptions,
): Promise<CopyResult> {
  return copyTree(source.files, source.side.path, target.files, target.to, options)
}

/** As cp(1) has it: a directory that is there takes what is copied; several need one. */
async function isIntoDirectory(count: number, { side, files }: OpenSide): Promise<boolean> {
  const there = await files.stat(side.path).catch(() => undefined)
  const isThere = there !== undefined && isDirectory(there)
  if (count > 1 && !isThere) {
    throw new CliError(`${formatCopySide(side)}: several files need a directory that is there`)
  }
  if (there === undefined && side.path.endsWith('/')) {
    throw new CliError(`${formatCopySide(side)}: there is no such directory`)
  }
  return isThere
}

/** The last part of a path; `.` and `..` have one where they lead. */
async function nameOf({ side, files }: OpenSide): Promise<string> {
  const name = baseName(side.path)
  if (name !== '/' && name !== '.' && name !== '..') return name
  const real = baseName(await files.realpath(side.path))
  return real === '/' ? 'root' : real
}
