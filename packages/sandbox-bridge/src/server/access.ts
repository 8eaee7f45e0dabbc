/** Who may enter a server, and what his line of authorized_keys then lets him do. */
import {
  type Attestation,
  type AuthorizedKey,
  type AuthorizedKeyOptions,
  attests,
  authorize,
  type PublicKey,
  parseAuthorizedKeys,
} from '@sandbox-ssh/protocol'
import { readAuthorizedKeys, readAuthorizedKeysFile } from '../home/authorized-keys.ts'
import { SandboxError } from '../home/errors.ts'
import type { Home } from '../home/home.ts'

/** Where the keys come from. */
export interface AccessOptions {
  readonly home: Home
  /** The sandbox as a user writes it, whose own keys count as well; undefined for one without name. */
  readonly sandbox: string | undefined
  /** Files instead of those of `home`. */
  readonly paths: readonly string[] | undefined
  /** Keys in memory: besides `paths` if these are given, else alone. */
  readonly keys: readonly PublicKey[] | undefined
  readonly onWarning?: ((message: string) => void) | undefined
}

/** Who asks. */
export interface AccessRequest {
  readonly key: PublicKey
  readonly username: string
  /** Where from; without it keys bound to addresses are refused. */
  readonly address: string | undefined
  /** What a security key said with its signature, once there is one. */
  readonly attestation?: Attestation | undefined
}

/** Let in, with what the line says; or not, and why. */
export type AccessDecision =
  | { readonly type: 'granted'; readonly options: AuthorizedKeyOptions }
  | { readonly type: 'refused'; readonly reason: string }

/** Decides at each login anew: the files are read each time. */
export class Access {
  readonly #options: AccessOptions

  constructor(options: AccessOptions) {
    this.#options = options
  }

  /**
   * Checks that somebody could get in: said while a person can still act on it.
   * @throws SandboxError `AUTHORIZED_KEY_INVALID` with the remedy, `MODE_UNSAFE`, `HOME_UNUSABLE`
   */
  requireSomebody(): void {
    const { home, paths, keys } = this.#options
    if (keys !== undefined && keys.length > 0) return
    if (paths === undefined && keys !== undefined) {
      throw new SandboxError('AUTHORIZED_KEY_INVALID', 'SSH server has no authorized public keys')
    }
    const read = this.#read()
    if (read.keys.length > 0) return
    const [warning] = read.warnings
    const where = (paths ?? [home.authorizedKeysPath]).join(', ')
    const what = warning === undefined ? `no authorized keys in ${where}` : warning
    const remedy = 'add a key with: msb ssh authorize --file ~/.ssh/id_ed25519.pub'
    throw new SandboxError('AUTHORIZED_KEY_INVALID', `${what}; ${remedy}`)
  }

  /** @throws SandboxError if the files cannot be read or trusted */
  decide(request: AccessRequest): AccessDecision {
    const { onWarning, keys } = this.#options
    if (keys?.some((allowed) => allowed.equals(request.key))) {
      return { type: 'granted', options: unrestricted(request.key) }
    }
    const read = this.#read()
    for (const warning of read.warnings) onWarning?.(warning)
    const authorization = authorize(read.keys, request)
    if (authorization === undefined) {
      return { type: 'refused', reason: refusal(read.keys, request) }
    }
    const { options } = authorization
    if (attests(request.attestation, options)) return { type: 'granted', options }
    const { touchRequired } = options
    const touched = attests(request.attestation, { touchRequired })
    const reason = `the security key ${touched ? 'did not verify its user' : 'was not touched'}`
    return { type: 'refused', reason }
  }

  #read(): ReturnType<typeof readAuthorizedKeys> {
    const { home, sandbox, paths, keys } = this.#options
    if (paths !== undefined) {
      const read = paths.map(readAuthorizedKeysFile)
      return {
        keys: read.flatMap((file) => file.keys),
        warnings: read.flatMap((file) => file.warnings),
      }
    }
    return keys === undefined ? readAuthorizedKeys(home, sandbox) : { keys: [], warnings: [] }
  }
}

/** What a line without options lets its key do. */
function unrestricted(key: PublicKey): AuthorizedKeyOptions {
  const [plain] = parseAuthorizedKeys(`${key.type} ${key.toString().split(' ')[1]}`).keys
  if (plain === undefined) throw new TypeError('a key that cannot be written as a line')
  return plain.options
}

/** For the log of whoever runs the server; the client is told nothing. */
function refusal(keys: readonly AuthorizedKey[], { key, address }: AccessRequest): string {
  const own = keys.filter((line) => line.key.equals(key))
  if (own.length === 0) return 'the key is not authorized'
  const expired = own.every(({ options }) => (options.expiryMs ?? Infinity) <= Date.now())
  return expired ? 'the key has expired' : `the key may not be used from ${address ?? 'here'}`
}
