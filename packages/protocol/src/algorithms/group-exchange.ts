/**
 * Diffie-Hellman in a group that the server chooses, RFC 4419. The groups are those of RFC 3526:
 * their making can be checked by everybody, that of a random prime by nobody.
 */
import { integer } from '../crypto/big-integers.ts'
import type { ModpBits } from '../crypto/modp-groups.ts'
import { SshError } from '../errors.ts'
import { initiateIn, modpGroup, respondIn } from './group-kex.ts'
import type { DhGroup, DhGroupRequest, KexSpec } from './spec.ts'

const NAME = 'diffie-hellman-group-exchange-sha256'
/** Smallest first. */
const OFFERED = [2048, 3072, 4096, 8192] as const satisfies readonly ModpBits[]
/** RFC 8270 §3 asks for 2048 at least; 3072 is as strong as a 128-bit cipher (SP 800-57). */
const REQUEST: DhGroupRequest = { minimum: 2048, preferred: 3072, maximum: 8192 }

/** The server's choice of group, the client's checks of it. */
export const groupExchangeSha256: KexSpec = {
  name: NAME,
  hash: 'sha256',
  postQuantum: false,
  groupExchange: { request: REQUEST, choose, check },
  initiate: (crypto, group) => initiateIn(NAME, crypto, agreedOn(group)),
  respond: (crypto, init, group) => respondIn(NAME, crypto, agreedOn(group), init),
}

/** The smallest group of at least the preferred size, else the largest that is allowed. */
function choose({ minimum, preferred, maximum }: DhGroupRequest): DhGroup {
  const allowed = OFFERED.filter((bits) => bits >= minimum && bits <= maximum)
  const bits = allowed.find((size) => size >= preferred) ?? allowed.at(-1)
  if (bits === undefined || minimum > preferred || preferred > maximum) {
    throw new SshError(
      'SSH_KEY_EXCHANGE',
      `no group between ${minimum} and ${maximum} bits: ${OFFERED.join(', ')} are there`,
    )
  }
  return modpGroup(bits)
}

/** That p is safe cannot be seen quickly; OpenSSH too checks sizes only. */
function check({ prime, generator }: DhGroup): void {
  const bits = prime.length === 0 ? 0 : prime.length * 8 - Math.clz32(prime[0] as number) + 24
  if (bits < REQUEST.minimum || bits > REQUEST.maximum) {
    throw new SshError('SSH_KEY_EXCHANGE', `the server chose a prime of ${bits} bits`)
  }
  const p = integer(prime)
  const g = integer(generator)
  if ((p & 1n) === 0n || g <= 1n || g >= p - 1n) {
    throw new SshError('SSH_KEY_EXCHANGE', 'the server chose a group that is none')
  }
}

function agreedOn(group: DhGroup | undefined): DhGroup {
  if (group === undefined) throw new SshError('SSH_INTERNAL', `${NAME} before a group was chosen`)
  return group
}
