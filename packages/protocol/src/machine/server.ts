/** A server's machine. */
import { ServerAuth } from '../auth/server.ts'
import { AUTH_FAILURES_MAX } from '../limits.ts'
import { Machine } from './machine.ts'
import type { MachineOptions } from './options.ts'

/** Makes one. Throws TypeError on options that make no sense. */
export function serverMachine(options: Omit<MachineOptions, 'role'>): Machine {
  return new Machine(
    { ...options, role: 'server' },
    (context, made, { tellUserAlgorithms, authenticated }) =>
      new ServerAuth(context, {
        methods: made.authMethods ?? ['publickey'],
        banner: made.banner,
        failuresMax: made.authFailuresMax ?? AUTH_FAILURES_MAX,
        userAlgorithms: (name) => made.userAlgorithms?.(name),
        tellAlgorithms: tellUserAlgorithms,
        authenticated: (name, method, publicKey) => {
          context.send(ServerAuth.success())
          authenticated(name, method, publicKey)
        },
      }),
  )
}
