/** Logging in with what an agent holds. */
import { type AuthMethod, publickey } from '../auth-methods.ts'
import { ignore } from '../deferred.ts'
import type { Transport } from '../io/transport.ts'
import { plainKey } from '../keys/certificate.ts'
import type { PublicKey } from '../keys/public-key.ts'
import { requireFunction } from '../validate.ts'
import { bindForLogin } from './binding.ts'
import { type AgentClient, agentClient } from './client.ts'

/** Which of an agent's keys are offered. */
export interface AgentKeysOptions {
  /**
   * Offers these keys alone, in this order, and their certificates: as OpenSSH's IdentitiesOnly.
   * Servers count failures, so an agent with many keys needs it.
   */
  readonly only?: readonly PublicKey[]
}

/**
 * Public key authentication with the keys of an agent, which `open` connects to when their turn
 * comes. The agent is told which connection it is used for (`session-bind@openssh.com`), so that it
 * can hold keys for some destinations only. An agent that cannot be reached has no keys; the error of
 * a failed login says why.
 *
 * @example
 * import { agentKeys, generateKey, Keyring, memoryPair, serveAgent } from '@sandbox-ssh/protocol'
 *
 * const keyring = new Keyring()
 * keyring.add(generateKey('ed25519'), {}, 'laptop')
 * // Elsewhere: nodeSocket(createConnection(process.env.SSH_AUTH_SOCK))
 * const open = () => {
 *   const [near, far] = memoryPair()
 *   void serveAgent(far, keyring)
 *   return near
 * }
 * const client = await pair(
 *   { auth: { publickey: ({ key }) => key.equals(keyring.keys[0]!) } },
 *   { auth: [agentKeys(open)] },
 * )
 * console.log((await client.run('echo signed by an agent')).text().trim()) // signed by an agent
 */
export function agentKeys(
  open: () => Transport | Promise<Transport>,
  { only }: AgentKeysOptions = {},
): AuthMethod {
  requireFunction(open, 'open')
  return {
    name: 'publickey',
    start() {
      let agent: AgentClient | undefined
      const run = publickey(async ({ session, signal, note }) => {
        try {
          const opened = agentClient(await open())
          agent = opened
          await bindForLogin(opened, session)
          const held = await opened.list({ signal })
          if (only === undefined) return held
          return only.flatMap((key) =>
            held.filter(
              ({ publicKey }) => publicKey.equals(key) || plainKey(publicKey).equals(key),
            ),
          )
        } catch (error) {
          note(`agent: ${error instanceof Error ? error.message : 'failed'}`)
          return []
        }
      }).start()
      return {
        next: (context) => run.next(context),
        signer: (key) => run.signer?.(key),
        end: () => void agent?.close().catch(ignore),
      }
    },
  }
}
