/** Commands whose stdin and stdout carry the agent protocol, such as `docker exec -i …`. */
import type { Transport } from '@sandbox-ssh/protocol'
import { SandboxError } from '../home/errors.ts'
import { awaitGreeting } from './greeting.ts'
import { type ChildCarrier, spawnCarrier } from './stdio.ts'
import type { DialOptions } from './unix.ts'

/** A command may have to ask for a passphrase, or to start a container. */
const GREETING_MS = 120_000
/** For the last words of a command to arrive after its end. */
const LAST_WORDS_MS = 1000

/** How a program is spoken of. */
interface ProgramOptions extends DialOptions {
  readonly label: string
  /** What it means that there is no such program. */
  readonly missing?: string | undefined
}

/**
 * Runs a command line in sh, for one connection; it ends with it. It has our environment and our
 * terminal.
 * @throws SandboxError `SANDBOX_UNREACHABLE` with the command's last words; or the signal's reason
 */
export function dialCommand(command: string, options: DialOptions = {}): Promise<Transport> {
  // Replacing the shell, it is the command itself that is told to end.
  // Its arguments may hold secrets, and so may a first word that sets a variable.
  const label = `stdio:${/^[\w./-]+(?=\s|$)/.exec(command)?.[0] ?? '…'}`
  return dialProgram('/bin/sh', ['-c', `exec ${command}`], { ...options, label })
}

/**
 * Runs a program for one connection, once the guest has greeted.
 * @throws SandboxError as `dialCommand`
 */
export async function dialProgram(
  program: string,
  args: readonly string[],
  { signal, timeoutMs = GREETING_MS, label, missing }: ProgramOptions,
): Promise<Transport> {
  signal?.throwIfAborted()
  const env = Object.entries(process.env).filter((entry): entry is [string, string] => {
    return entry[1] !== undefined
  })
  const child = spawnCarrier(program, args, { env: Object.fromEntries(env) })
  const transport = endingWith(child)
  try {
    return await awaitGreeting(transport, { signal, timeoutMs })
  } catch (cause) {
    if (signal?.aborted) throw signal.reason
    const end = await Promise.race([child.exited, after(LAST_WORDS_MS)])
    if (missing !== undefined && end?.includes('ENOENT')) {
      throw new SandboxError('SANDBOX_UNREACHABLE', `${label}: ${missing}`, { cause })
    }
    const words = child.stderrTail().split('\n').at(-1) ?? ''
    const why = words === '' ? (end ?? 'it said nothing') : words
    throw new SandboxError('SANDBOX_UNREACHABLE', `${label}: ${why}`, { cause })
  }
}

/** The child's transport, with which the child ends; neither outlives this process. */
function endingWith(child: ChildCarrier): Transport {
  const { transport } = child
  const kill = (): void => child.kill()
  process.once('exit', kill)
  void child.exited.then(() => process.off('exit', kill))
  return {
    read: () => transport.read(),
    write: (chunk) => transport.write(chunk),
    close: async () => {
      await transport.close()
      void child.end()
    },
    abort: (reason) => {
      transport.abort(reason)
      void child.end()
    },
  }
}

async function after(ms: number): Promise<undefined> {
  let timer: NodeJS.Timeout | undefined
  await new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
    timer.unref()
  })
  clearTimeout(timer)
}
