/** SSH sessions as programs in the guest: streams, terminal, signals, the end. */
import type { ExitResult, ServerSession } from '@sandbox-ssh/protocol'
import type { AgentClient } from './agent/client.ts'
import { AgentError } from './agent/error.ts'
import type { AgentProcess, ExecExit } from './agent/process.ts'
import { type AgentSocket, openAgentSocket } from './agent-socket.ts'
import { CommandError, type CommandLine, loginShell, shellCommand } from './command-line.ts'
import { type PeerAddresses, sessionEnvironment } from './environment.ts'
import { sttyArguments } from './guest/terminal-modes.ts'
import type { GuestConnection } from './guest-connection.ts'
import { GuestUserError } from './guest-user.ts'
import { SandboxError } from './home/errors.ts'
import { endWithoutReader, hangUp } from './process-end.ts'

/** Exit statuses of shells: the program was not found, or cannot be run. */
const NOT_FOUND = 127
const NOT_EXECUTABLE = 126
/** What ssh(1) exits with when it is the connection that failed. */
const CONNECTION_FAILED = 255

/** Whose session it is, and what is known besides. */
export interface SessionStart {
  /** The guest's user. */
  readonly login: string
  /** Where the connection comes from. */
  readonly peer?: PeerAddresses | undefined
  /** What to run instead of what the client asked for. */
  readonly program?: CommandLine | undefined
}

/**
 * Runs a command or a login shell for a session. What goes wrong in
 * starting it, or with the sandbox, is told on stderr with an exit status as a shell's; it is
 * never the end of the SSH connection.
 */
export async function runSession(
  session: ServerSession,
  guest: GuestConnection,
  how: SessionStart,
): Promise<ExitResult> {
  const socket = await agentSocket(session, guest, how)
  try {
    const program = await start(session, guest, how, socket)
    guest.hold(untilGone(session, program))
    return await join(session, program)
  } catch (error) {
    return tellFailure(session, error)
  } finally {
    await socket?.close()
  }
}

/** Where a client's agent is to be had inside; a sandbox that cannot is told of, and no obstacle. */
async function agentSocket(
  session: ServerSession,
  guest: GuestConnection,
  { login, program }: SessionStart,
): Promise<AgentSocket | undefined> {
  if (!session.agentForwarding || program !== undefined) return undefined
  try {
    return await openAgentSocket(session, guest, login)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    await tell(session, `warn: your agent cannot be reached from inside: ${printable(why)}`)
    return undefined
  }
}

async function tell(session: ServerSession, line: string): Promise<void> {
  const [write, end] =
    session.pty === undefined ? (['writeStderr', '\n'] as const) : (['write', '\r\n'] as const)
  await session[write](new TextEncoder().encode(`${line}${end}`)).catch(() => {})
}

/** Tells the client in a line what is wrong, and gives the exit status for it. */
export async function tellFailure(session: ServerSession, error: unknown): Promise<number> {
  const status = failureStatus(error)
  // What is not one of these is a fault of ours, and nothing for a client to read.
  if (status === undefined) throw error
  const message = error instanceof Error ? error.message : String(error)
  await tell(session, `error: ${printable(message)}`)
  return status
}

async function start(
  session: ServerSession,
  guest: GuestConnection,
  { login, peer, program }: SessionStart,
  socket: AgentSocket | undefined,
): Promise<AgentProcess> {
  const user = await guest.user(login)
  const { workdir } = guest.settings
  // Asked for, so that elsewhere would be wrong; a home that is missing is nobody's wish.
  if (workdir !== undefined && user.directory !== workdir) {
    throw new GuestUserError(`no directory ${JSON.stringify(workdir)} in the sandbox`)
  }
  const asked = (): CommandLine =>
    session.kind === 'shell' ? loginShell(user) : shellCommand(user, session.commandBytes)
  const agent = await guest.agent()
  const line = withModes(agent, session.pty, program ?? asked())
  return agent.exec(
    {
      ...line,
      env: sessionEnvironment(user, guest.settings, session, {
        peer,
        agentSocket: socket?.path,
        // Our guest, which has this as well, drops its own.
        strayTerm: !agent.has('tty-env'),
      }),
      cwd: user.directory,
      user: user.agentUser,
      pty: session.pty === undefined ? undefined : { ...session.pty, pathVariable: 'SSH_TTY' },
    },
    { signal: session.signal },
  )
}

/**
 * An agent that takes no terminal modes runs the program by a shell that sets them before, if there
 * is an stty; the end-of-file character stays as the agent's client types it.
 */
function withModes(agent: AgentClient, pty: ServerSession['pty'], line: CommandLine): CommandLine {
  if (pty === undefined || agent.has('pty-modes')) return line
  const modes = new Map(Object.entries(pty.modes).filter(([name]) => name !== 'VEOF'))
  const words = sttyArguments(modes)
  if (words.length === 0) return line
  // In a subshell: one that is a shell's builtin, or missing, must not end the script.
  const script = `(stty ${words.join(' ')}) >/dev/null 2>&1; exec "$@"`
  return { command: '/bin/sh', args: ['-c', script, line.command, line.command, ...line.args] }
}

async function join(session: ServerSession, program: AgentProcess): Promise<ExitResult> {
  session.onSignal((name) => void program.signal(name))
  session.onWindowChange(({ columns, rows, widthPixels, heightPixels }) =>
    program.resize(columns, rows, widthPixels, heightPixels),
  )
  copyInput(session, program).catch(() => {})
  await Promise.all([copyStdout(session, program), copyStderr(session, program)])
  return exitResult(await program.exited)
}

/** The program's whole life, and what is done to it if its session ends before. */
async function untilGone(session: ServerSession, program: AgentProcess): Promise<void> {
  let gone = (): void => {}
  const sessionEnd = new Promise<void>((resolve) => {
    gone = resolve
  })
  session.signal.addEventListener('abort', gone, { once: true })
  if (session.signal.aborted) gone()
  const programEnd = program.exited.then(
    () => {},
    () => {},
  )
  await Promise.race([programEnd, sessionEnd])
  session.signal.removeEventListener('abort', gone)
  if (session.signal.aborted) await hangUp(program, { terminal: session.pty !== undefined })
}

/** Ends with the client's input, or with the session. */
async function copyInput(session: ServerSession, program: AgentProcess): Promise<void> {
  for (let chunk = await session.read(); chunk !== undefined; chunk = await session.read()) {
    await program.write(chunk)
  }
  await program.end()
}

/** Each chunk is taken from the agent only when the client has room for the one before. */
async function copyStdout(session: ServerSession, program: AgentProcess): Promise<void> {
  for (let chunk = await program.read(); chunk !== undefined; chunk = await program.read()) {
    try {
      await session.write(chunk)
    } catch {
      // A client that is gone is `hangUp`'s matter.
      if (session.signal.aborted) return program.discardOutput()
      return endWithoutReader(program)
    }
  }
}

async function copyStderr(session: ServerSession, program: AgentProcess): Promise<void> {
  for (
    let chunk = await program.readStderr();
    chunk !== undefined;
    chunk = await program.readStderr()
  ) {
    // Once the session is closed there is nobody to write to, and the rest is dropped.
    await session.writeStderr(chunk).catch(() => {})
  }
}

function exitResult(exit: ExecExit): ExitResult {
  if (exit.code >= 0) return exit.code & 0xff
  if (exit.signal !== undefined) return { signal: exit.signal }
  // Nobody told which. Of what ends a program unasked, this is what the kernel itself sends.
  return { signal: 'KILL', message: 'ended by a signal that the agent does not name' }
}

/** The exit status for a failure that is not ours, undefined for one that is. */
function failureStatus(error: unknown): number | undefined {
  if (error instanceof SandboxError) return CONNECTION_FAILED
  if (error instanceof GuestUserError || error instanceof CommandError) return NOT_FOUND
  if (!(error instanceof AgentError)) return undefined
  switch (error.kind) {
    case 'permission_denied':
    case 'not_executable':
      return NOT_EXECUTABLE
    case 'closed':
    case 'limit':
    case 'timeout':
    case 'protocol':
    case 'aborted':
      return CONNECTION_FAILED
    default:
      return NOT_FOUND
  }
}

/** A message that quotes the guest or the client, fit for a terminal. */
function printable(text: string): string {
  return text
    .replace(/[^\P{C}\n]/gu, '?')
    .replaceAll('\n', ' ')
    .slice(0, 1000)
}
