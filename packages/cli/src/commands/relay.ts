/** `msb ssh relay ENDPOINT --listen PATH`: one agent for many clients, on a socket. */
import { listenRelay } from '@sandbox-ssh/sandbox-bridge'
import type { RelayCommand } from '../command.ts'
import type { CommandContext } from '../context.ts'
import { handleSignals } from '../signals.ts'

/** Relays until a signal; returns the exit code. */
export async function relay(
  command: RelayCommand,
  { output, home }: CommandContext,
): Promise<number> {
  const server = await listenRelay(command.endpoint, command.socketPath, {
    home: home(),
    budgetBytes: command.budgetBytes,
    onClientFailure: (why) => output.warn(why),
    onWarning: (message) => output.warn(message),
  })
  const stopped = new Promise<void>((resolve) => {
    const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], () => {
      stop()
      resolve()
    })
  })
  output.success('Relaying', `${server.label} on ${command.socketPath}`)
  await stopped
  await server.close()
  return 0
}
