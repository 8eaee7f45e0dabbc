/** A client's machine. */
import { ClientAuth } from '../auth/client.ts'
import { EXTENSION } from './extensions.ts'
import { Machine } from './machine.ts'
import type { MachineOptions } from './options.ts'

/** Makes one. Throws TypeError on options that make no sense. */
export function clientMachine(options: Omit<MachineOptions, 'role'>): Machine {
  return new Machine(
    { ...options, role: 'client' },
    (context, { username = '' }, { extensions, authenticated }) =>
      new ClientAuth(context, {
        username,
        signatureAlgorithms: () => {
          const list = extensions.get(EXTENSION.SIGNATURE_ALGORITHMS)
          if (list === undefined) return undefined
          // ssh2's server forgets the comma between these two.
          const names = new TextDecoder().decode(list).replace('521rsa-', '521,rsa-')
          return names.split(',')
        },
        hostbound: () => extensions.has(EXTENSION.HOSTBOUND),
        authenticated,
      }),
  )
}
