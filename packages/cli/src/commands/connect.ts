/** `msb ssh NAME [-- WORD…]`: a shell or a command, joined to this terminal or these pipes. */
import { type RemoteProcess, SshError } from '@sandbox-ssh/protocol'
import {
  attach,
  DEFAULT_DETACH_KEYS,
  exitStatus,
  parseDetachKeys,
  type SshClient,
  type SshClientOptions,
  sandbox,
  terminalName,
  terminalSize,
} from '@sandbox-ssh/sandbox-bridge'
import type { ConnectCommand } from '../command.ts'
import type { CommandContext } from '../context.ts'
import { isReaderGone, outputFailed } from '../print.ts'
import { whileRunning } from '../running.ts'
import { type HandledSignal, handleSignals, signalExitCode } from '../signals.ts'
import { reenterRawModeOnContinue } from '../terminal.ts'
import { commandLine } from '../words.ts'
import { type Forwards, joinStdio, openForwards, openRemoteForwards } from './forward.ts'

/** Runs the session and returns the exit code. */
export async function connect(command: ConnectCommand, context: CommandContext): Promise<number> {
  const forwards = await openForwards(command.forwards, context)
  try {
    return await connectWith(command, context, forwards)
  } finally {
    await forwards.close()
  }
}

async function connectWith(
  command: ConnectCommand,
  context: CommandContext,
  forwards: Forwards,
): Promise<number> {
  const { stdin, stdout } = process
  const { output } = context
  const session = !command.forwardOnly && command.stdioTo === undefined
  const tty = session && (command.tty ?? (command.words.length === 0 && stdin.isTTY === true))
  const raw = tty && stdin.isTTY === true
  const detachKeys = parseDetachKeys(command.detachKeys ?? DEFAULT_DETACH_KEYS)
  const home = context.home()
  const box = sandbox(command.sandbox, {
    home,
    onWarning: (message) => output.warn(message),
    ...(command.cwd === undefined ? {} : { workdir: command.cwd }),
  })
  const clientOptions: SshClientOptions = {
    user: command.user,
    inactivityTimeoutSecs:
      command.inactivityMs === undefined ? undefined : Math.ceil(command.inactivityMs / 1000),
  }
  const options = { whenUnsure: 'stop', client: clientOptions } as const
  return whileRunning(box, context, options, async (client) => {
    // A terminal in raw mode is the remote program's: lines of ours would tear its screen.
    const onError = (message: string): void => output[raw ? 'debug' : 'warn'](message)
    forwards.start(client.connection, onError)
    await openRemoteForwards(client.connection, command.remoteForwards, context, onError)
    if (command.stdioTo !== undefined) {
      await joinStdio(client.connection, command.stdioTo)
      return 0
    }
    if (command.forwardOnly) return untilEnded(client)
    const term = command.term ?? terminalName(process.env['TERM'])
    const sessionOptions = {
      env: command.env,
      ...(tty ? { pty: { term, ...terminalSize(stdout) } } : {}),
    }
    const program =
      command.words.length === 0
        ? await client.connection.shell(sessionOptions)
        : await client.connection.exec(commandLine(command.words), sessionOptions)
    return join(program, raw ? detachKeys : undefined)
  })
}

/** Nothing but forwards: until a signal, or the end of the connection, which is an error. */
async function untilEnded(client: SshClient): Promise<number> {
  let stop = (): void => undefined
  const signalled = new Promise<number>((resolve) => {
    stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) =>
      resolve(signalExitCode(signal)),
    )
  })
  const lost = client.connection.closed.then((error) => {
    throw error ?? new SshError('SSH_CONNECTION_LOST', 'the connection was closed')
  })
  try {
    return await Promise.race([signalled, lost])
  } finally {
    stop()
  }
}

/** With `detachKeys` stdin is a terminal, in raw mode meanwhile. */
async function join(program: RemoteProcess, detachKeys: Uint8Array | undefined): Promise<number> {
  const raw = detachKeys !== undefined
  let killedBy: HandledSignal | undefined
  let ended = false
  const leaving = new AbortController()
  const exited = (): void => {
    ended = true
  }
  program.exit.then(exited, exited)
  const stop = [
    handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'], (signal) => {
      // A terminal in raw mode sends keys, not signals: this one was meant for this process. One
      // that is not passes Ctrl-C on, and believes the second one. A program that has ended takes
      // none: what is waited for then is a reader of its output.
      const again = killedBy !== undefined
      killedBy = signal
      if (raw || again || ended) leaving.abort(new Error(`ended by ${signal}`))
      else program.kill(signal.slice('SIG'.length))
    }),
    ...(raw ? [reenterRawModeOnContinue()] : []),
  ]
  try {
    const end = await attach(program, process, { raw, detachKeys, signal: leaving.signal })
    if (end.type === 'exited') return exitStatus(end.status)
    if (end.type === 'detached') return 0
    if (isReaderGone(end.error)) return signalExitCode('SIGPIPE')
    throw outputFailed(end.stream, end.error)
  } catch (error) {
    if (killedBy !== undefined) return signalExitCode(killedBy)
    throw error
  } finally {
    for (const undo of stop) undo()
  }
}
