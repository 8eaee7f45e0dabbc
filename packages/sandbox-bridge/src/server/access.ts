/** Who may enter a sandbox, and what his line of authorized_keys or his certificate lets him do. */
import {
  type Attestation,
  type AuthorizedKey,
  type AuthorizedKeyOptions,
  attests,
  authorize,
  type Certificate,
  checkCertificate,
  decodeCertificate,
  isCertificate,
  type PublicKey,
  parseAuthorizedKeys,
} from '@sandbox-ssh/protocol'
import { readAuthoritiesFile, readRevocationsFile } from '../home/authorities.ts'
import {
  type AuthorizedKeys,
  readAuthorizedKeys,
  readAuthorizedKeysFile,
} from '../home/authorized-keys.ts'
import { SandboxError } from '../home/errors.ts'
import type { Home } from '../home/home.ts'
import { type Login, principalsOf } from './login.ts'

/** Of a certificate for which nothing else is said: exactly the login. */
const PRINCIPALS: readonly string[] = ['%r']
/** Critical options of certificates that are enforced, `source-address` aside, which always is. */
const ENFORCED = ['force-command', 'verify-required']

/** Where the keys come from. */
export interface AccessOptions {
  readonly home: Home
  /** The sandbox as a user writes it, whose own keys count as well; undefined for one without name. */
  readonly sandbox: string | undefined
  /** What `%s` stands for in paths; without it they are taken as they are. */
  readonly name?: string | undefined
  /** Files instead of those of `home`. */
  readonly paths: readonly string[] | undefined
  /** Keys in memory: besides `paths` if these are given, else alone. */
  readonly keys: readonly PublicKey[] | undefined
  /** Files of authorities, besides all of these. */
  readonly authorityPaths?: readonly string[] | undefined
  /** Authorities in memory, besides. */
  readonly authorities?: readonly PublicKey[] | undefined
  /** Principals of certificates of those, as `checkPrincipals` has them; default `%r`. */
  readonly principals?: readonly string[] | undefined
  /** Files of what is revoked. */
  readonly revokedPaths?: readonly string[] | undefined
  readonly onWarning?: ((message: string) => void) | undefined
}

/** Who asks. */
export interface AccessRequest {
  readonly key: PublicKey
  readonly login: Login
  /** Where from; without it keys bound to addresses are refused. */
  readonly address: string | undefined
  /** What a security key said with its signature, once there is one. */
  readonly attestation?: Attestation | undefined
}

/** Let in, with what the line and the certificate say; or not, and why. */
export type AccessDecision =
  | {
      readonly type: 'granted'
      readonly options: AuthorizedKeyOptions
      readonly certificate: Certificate | undefined
    }
  | { readonly type: 'refused'; readonly reason: string }

/** Decides at each login anew: the files are read each time. */
export class Access {
  readonly #options: AccessOptions

  constructor(options: AccessOptions) {
    this.#options = options
  }

  /**
   * Checks that somebody could get in: said while a person can still act on it.
   * @throws SandboxError `AUTHORIZED_KEY_INVALID` with the remedy, or as `objection`
   */
  requireSomebody(): void {
    const objection = this.objection()
    if (objection !== undefined) throw new SandboxError('AUTHORIZED_KEY_INVALID', objection)
  }

  /**
   * Why nobody at all can get in; undefined if somebody can.
   * @throws SandboxError `MODE_UNSAFE`, `HOME_UNUSABLE`, `REVOCATIONS_INVALID`
   */
  objection(): string | undefined {
    const { home, paths, keys, authorityPaths } = this.#options
    const authorities = this.#authorities()
    this.#revocations()
    if (authorities.keys.length > 0 || (keys !== undefined && keys.length > 0)) return undefined
    if (paths === undefined && keys !== undefined) return 'SSH server has no authorized public keys'
    const lines = this.#lines()
    if (lines.keys.length > 0) return undefined
    const [warning] = [...authorities.warnings, ...lines.warnings]
    const files = [...(paths ?? [home.authorizedKeysPath]), ...(authorityPaths ?? [])]
    const where = files.map((path) => this.#filled(path)).join(', ')
    const what = warning === undefined ? `no authorized keys in ${where}` : warning
    return `${what}; add a key with: msb ssh authorize --file ~/.ssh/id_ed25519.pub`
  }

  /** @throws SandboxError if the files cannot be read or trusted: then nobody may be let in */
  decide(request: AccessRequest): AccessDecision {
    const { onWarning, keys, principals = PRINCIPALS } = this.#options
    const { key, login, address } = request
    for (const list of this.#revocations()) {
      const reason = list.reasonAgainst(key)
      if (reason !== undefined) return { type: 'refused', reason }
    }
    const lines = this.#lines()
    const authorities = this.#authorities()
    for (const warning of [...lines.warnings, ...authorities.warnings]) onWarning?.(warning)
    const names = principalsOf(principals, login)
    const known = [
      ...(keys ?? []).map(unrestricted),
      ...lines.keys,
      ...authorities.keys.map((line) =>
        line.options.principals === undefined
          ? { ...line, options: { ...line.options, principals: names } }
          : line,
      ),
    ]
    const { username } = login
    const authorization = authorize(known, { key, username, address })
    if (authorization === undefined) {
      return { type: 'refused', reason: refusal(known, username, request) }
    }
    const { options, certificate } = authorization
    if (attests(request.attestation, options)) return { type: 'granted', options, certificate }
    const { touchRequired } = options
    const touched = attests(request.attestation, { touchRequired })
    const reason = `the security key ${touched ? 'did not verify its user' : 'was not touched'}`
    return { type: 'refused', reason }
  }

  #lines(): AuthorizedKeys {
    const { home, sandbox, paths, keys } = this.#options
    if (paths !== undefined) {
      return joined(paths.map((path) => readAuthorizedKeysFile(this.#filled(path))))
    }
    return keys === undefined ? readAuthorizedKeys(home, sandbox) : { keys: [], warnings: [] }
  }

  #authorities(): AuthorizedKeys {
    const { authorityPaths = [], authorities = [] } = this.#options
    const files = authorityPaths.map((path) => {
      const filled = this.#filled(path)
      // Not every sandbox needs an authority of its own.
      return readAuthoritiesFile(filled, filled !== path)
    })
    return joined([{ keys: authorities.map(authorityOf), warnings: [] }, ...files])
  }

  #revocations(): ReturnType<typeof readRevocationsFile>[] {
    const { revokedPaths = [] } = this.#options
    return revokedPaths.map((path) => readRevocationsFile(this.#filled(path)))
  }

  #filled(path: string): string {
    const { name } = this.#options
    return name === undefined ? path : path.replaceAll('%s', name)
  }
}

function joined(files: readonly AuthorizedKeys[]): AuthorizedKeys {
  return {
    keys: files.flatMap(({ keys }) => keys),
    warnings: files.flatMap(({ warnings }) => warnings),
  }
}

/** What a line without options lets its key do. */
function unrestricted(key: PublicKey): AuthorizedKey {
  const [plain] = parseAuthorizedKeys(`${key.type} ${key.toString().split(' ')[1]}`).keys
  if (plain === undefined) throw new TypeError('a key that cannot be written as a line')
  return plain
}

/** As a line of a file of authorities: certificates say themselves what they allow. */
function authorityOf(key: PublicKey): AuthorizedKey {
  const { options, ...line } = unrestricted(key)
  return { ...line, options: { ...options, certAuthority: true, touchRequired: false } }
}

/** For the log of whoever runs the server; the client is told nothing. */
function refusal(
  known: readonly AuthorizedKey[],
  username: string,
  { key, address }: AccessRequest,
): string {
  if (isCertificate(key)) return certificateRefusal(known, username, key, address)
  const own = known.filter((line) => !line.options.certAuthority && line.key.equals(key))
  if (own.length === 0) return 'the key is not authorized'
  const expired = own.every(({ options }) => (options.expiryMs ?? Infinity) <= Date.now())
  return expired ? 'the key has expired' : `the key may not be used from ${address ?? 'here'}`
}

function certificateRefusal(
  known: readonly AuthorizedKey[],
  username: string,
  key: PublicKey,
  address: string | undefined,
): string {
  try {
    const { signatureKey } = decodeCertificate(key)
    const line = known.find(
      ({ key: authority, options }) => options.certAuthority && authority.equals(signatureKey),
    )
    const principals = line?.options.principals ?? [username]
    const authorities = line === undefined ? [] : [signatureKey]
    checkCertificate(key, { role: 'user', authorities, principals, address, honours: ENFORCED })
    // The certificate is good: then it is the line of its authority that says no.
    return 'its authority does not let the certificate in from there, now or with this command'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
