/**
 * Which keys a server lets in: the authorized_keys file of sshd(8). Options restrict what a key may
 * do, so the rule here is: a line whose options cannot be read, or which the caller does not say it
 * honours, is left out and reported. It never counts as a line without options.
 */
import { parseTime, readQuoted } from './option-values.ts'
import { PublicKey } from './public-key.ts'

/** Options whose omission would give a key more than its line says. */
export type RestrictingOption =
  | 'cert-authority'
  | 'command'
  | 'expiry-time'
  | 'from'
  | 'no-agent-forwarding'
  | 'no-port-forwarding'
  | 'no-pty'
  | 'no-user-rc'
  | 'no-x11-forwarding'
  | 'permitlisten'
  | 'permitopen'
  | 'principals'
  | 'restrict'
  | 'verify-required'

/** Options that give something; a server that does not know them merely gives less. */
type GrantingOption =
  | 'agent-forwarding'
  | 'environment'
  | 'no-touch-required'
  | 'port-forwarding'
  | 'pty'
  | 'tunnel'
  | 'user-rc'
  | 'x11-forwarding'

/** A host and port of `permitopen` or `permitlisten`; undefined stands for any. */
export interface PermittedAddress {
  readonly host: string | undefined
  readonly port: number | undefined
}

/** The options of one line, with every default filled in. */
export interface AuthorizedKeyOptions {
  /** The key signs certificates and does not itself log in. */
  readonly certAuthority: boolean
  /** Run this, whatever was asked for. */
  readonly command: string | undefined
  /** `NAME=value`, in order. */
  readonly environment: ReadonlyMap<string, string>
  /** Milliseconds since 1970 after which the key is void. */
  readonly expiryMs: number | undefined
  /** Patterns and CIDR blocks of client addresses, `!` negating; undefined means anywhere. */
  readonly from: readonly string[] | undefined
  /** Certificate principals accepted, with `cert-authority`. */
  readonly principals: readonly string[] | undefined
  /** The only targets of direct-tcpip; undefined means any. */
  readonly permitOpen: readonly PermittedAddress[] | undefined
  /** The only addresses for tcpip-forward; undefined means any. */
  readonly permitListen: readonly PermittedAddress[] | undefined
  readonly tunnel: string | undefined
  /** False if a security key need not be touched. */
  readonly touchRequired: boolean
  /** True if a security key must have verified its user, by PIN or finger. */
  readonly verifyRequired: boolean
  readonly agentForwarding: boolean
  readonly portForwarding: boolean
  readonly pty: boolean
  readonly userRc: boolean
  readonly x11Forwarding: boolean
}

/** One line that was understood. */
export interface AuthorizedKey {
  readonly key: PublicKey
  readonly options: AuthorizedKeyOptions
  /** From 1. */
  readonly line: number
}

/** What an authorized_keys file says. */
/** What a file says, and what of it could not be used. */
export interface AuthorizedKeysFile {
  readonly keys: readonly AuthorizedKey[]
  /** Lines that were left out, and why. */
  readonly errors: readonly { readonly line: number; readonly message: string }[]
}

/** How to read one. */
/** What the reader of a file can do with it. */
export interface AuthorizedKeysOptions {
  /** Restrictions that the caller really enforces. Default: none. */
  readonly honours?: readonly RestrictingOption[]
}

/** Longest line looked at; OpenSSH allows 8 KiB less two. */
const LINE_CHARACTERS_MAX = 64 * 1024
const VALUES_MAX = 256

/**
 * Reads an authorized_keys file. Never throws: a bad line, or one with a restriction that is not in
 * `honours`, is reported in `errors` and lets nobody in.
 *
 * @example
 * import { generateKey, parseAuthorizedKeys } from '@sandbox-ssh/protocol'
 *
 * const line = `command="backup",no-pty ${generateKey('ed25519').publicKey}`
 * const strict = parseAuthorizedKeys(line)
 * console.log(strict.keys.length, strict.errors.length) // 0 1
 *
 * // Only who enforces the options gets the key.
 * const { keys } = parseAuthorizedKeys(line, { honours: ['command', 'no-pty'] })
 * console.log(keys[0]?.options.command) // backup
 */
export function parseAuthorizedKeys(
  text: string,
  { honours = [] }: AuthorizedKeysOptions = {},
): AuthorizedKeysFile {
  const keys: AuthorizedKey[] = []
  const errors: { line: number; message: string }[] = []
  const honoured: ReadonlySet<string> = new Set(honours)
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const content = raw.trim()
    if (content === '' || content.startsWith('#')) continue
    const line = index + 1
    try {
      keys.push({ ...parseLine(content, honoured), line })
    } catch (error) {
      errors.push({ line, message: error instanceof Error ? error.message : String(error) })
    }
  }
  return { keys, errors }
}

function parseLine(
  content: string,
  honoured: ReadonlySet<string>,
): { key: PublicKey; options: AuthorizedKeyOptions } {
  if (content.length > LINE_CHARACTERS_MAX) throw new TypeError('the line is too long')
  // A key's data begins with the length of its type, so its base64 with three zero bytes. An option
  // list can look like a type, but nothing that follows one can look like that.
  if (/^[a-z0-9@.-]+\s+AAAA/i.test(content)) {
    return { key: PublicKey.parse(content), options: new OptionList().result() }
  }
  const list = new OptionList()
  const end = list.read(content)
  const key = PublicKey.parse(content.slice(end))
  for (const name of list.names) {
    if (isRestricting(name) && !honoured.has(name)) {
      throw new TypeError(`the option "${name}" cannot be honoured here, so the key is not used`)
    }
  }
  return { key, options: list.result() }
}

const restricting: ReadonlySet<string> = new Set<RestrictingOption>([
  'cert-authority',
  'command',
  'expiry-time',
  'from',
  'no-agent-forwarding',
  'no-port-forwarding',
  'no-pty',
  'no-user-rc',
  'no-x11-forwarding',
  'permitlisten',
  'permitopen',
  'principals',
  'restrict',
  'verify-required',
])

function isRestricting(name: string): boolean {
  return restricting.has(name)
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** Reads options in order: `restrict` switches everything off, later ones switch on again. */
class OptionList {
  /** Names seen, in lower case. */
  readonly names: string[] = []
  readonly #environment = new Map<string, string>()
  readonly #options: Writable<AuthorizedKeyOptions> = {
    certAuthority: false,
    command: undefined,
    environment: this.#environment,
    expiryMs: undefined,
    from: undefined,
    principals: undefined,
    permitOpen: undefined,
    permitListen: undefined,
    tunnel: undefined,
    touchRequired: true,
    verifyRequired: false,
    agentForwarding: true,
    portForwarding: true,
    pty: true,
    userRc: true,
    x11Forwarding: true,
  }

  result(): AuthorizedKeyOptions {
    return { ...this.#options }
  }

  /** Reads the list at the head of a line; returns the position of the blank behind it. */
  read(content: string): number {
    let at = 0
    for (;;) {
      const name = /^[A-Za-z0-9-]+/.exec(content.slice(at))?.[0]
      if (name === undefined) throw new TypeError('neither a public key nor a list of options')
      at += name.length
      let value: string | undefined
      if (content.startsWith('="', at)) {
        const quoted = readQuoted(content, at + 1)
        value = quoted.value
        at = quoted.end
      }
      this.#apply(name.toLowerCase(), value)
      const next = content[at]
      if (next === ',') {
        at++
      } else if (next === ' ' || next === '\t') {
        return at
      } else if (next === undefined) {
        throw new TypeError('no public key in the line')
      } else {
        throw new TypeError(`unexpected "${next}" after the option "${name}"`)
      }
    }
  }

  #apply(name: string, value: string | undefined): void {
    this.names.push(name)
    const flag = (): void => {
      if (value !== undefined) throw new TypeError(`the option "${name}" takes no value`)
    }
    const text = (): string => {
      if (value === undefined) throw new TypeError(`the option "${name}" needs a quoted value`)
      return value
    }
    const once = <T>(old: T | undefined, now: T): T => {
      if (old !== undefined) throw new TypeError(`the option "${name}" is given twice`)
      return now
    }
    const options = this.#options
    switch (name as RestrictingOption | GrantingOption | `no-${string}`) {
      case 'restrict':
        flag()
        return this.#allowAll(false)
      case 'cert-authority':
        flag()
        options.certAuthority = true
        return
      case 'no-touch-required':
        flag()
        options.touchRequired = false
        return
      case 'verify-required':
        flag()
        options.verifyRequired = true
        return
      case 'agent-forwarding':
      case 'no-agent-forwarding':
        flag()
        options.agentForwarding = !name.startsWith('no-')
        return
      case 'port-forwarding':
      case 'no-port-forwarding':
        flag()
        options.portForwarding = !name.startsWith('no-')
        return
      case 'pty':
      case 'no-pty':
        flag()
        options.pty = !name.startsWith('no-')
        return
      case 'user-rc':
      case 'no-user-rc':
        flag()
        options.userRc = !name.startsWith('no-')
        return
      case 'x11-forwarding':
      case 'no-x11-forwarding':
        flag()
        options.x11Forwarding = !name.startsWith('no-')
        return
      case 'command':
        options.command = once(options.command, text())
        return
      case 'environment':
        return this.#addEnvironment(text())
      case 'expiry-time':
        // The earliest wins.
        options.expiryMs = Math.min(options.expiryMs ?? Number.POSITIVE_INFINITY, parseTime(text()))
        return
      case 'from':
        options.from = once(options.from, list(name, text()))
        return
      case 'principals':
        options.principals = once(options.principals, list(name, text()))
        return
      case 'permitopen':
        options.permitOpen = appended(options.permitOpen, address(name, text(), true))
        return
      case 'permitlisten':
        options.permitListen = appended(options.permitListen, address(name, text(), false))
        return
      case 'tunnel':
        options.tunnel = once(options.tunnel, device(text()))
        return
      default:
        throw new TypeError(`unknown option "${name}"`)
    }
  }

  #allowAll(allowed: boolean): void {
    this.#options.agentForwarding = allowed
    this.#options.portForwarding = allowed
    this.#options.pty = allowed
    this.#options.userRc = allowed
    this.#options.x11Forwarding = allowed
  }

  #addEnvironment(text: string): void {
    const [, name, value] = /^([A-Za-z0-9_]+)=(.*)$/s.exec(text) ?? []
    if (name === undefined || value === undefined) {
      throw new TypeError('the option "environment" needs NAME=value')
    }
    if (this.#environment.size >= VALUES_MAX) throw new TypeError('too many "environment" options')
    // The first one stands, as in OpenSSH.
    if (!this.#environment.has(name)) this.#environment.set(name, value)
  }
}

function list(name: string, value: string): readonly string[] {
  const entries = value.split(',').map((entry) => entry.trim())
  if (entries.some((entry) => entry === '')) {
    throw new TypeError(`the option "${name}" has an empty entry`)
  }
  return entries
}

function appended<T>(old: readonly T[] | undefined, added: T): readonly T[] {
  if ((old?.length ?? 0) >= VALUES_MAX) throw new TypeError('too many addresses')
  return [...(old ?? []), added]
}

/** The number of a tunnel's device, or `any`. */
function device(value: string): string {
  if (!/^(any|\d{1,9})$/.test(value)) {
    throw new TypeError(`the option "tunnel" needs a number or "any", not "${value}"`)
  }
  return value
}

/** `host:port` or `[host]:port`, `*` for any; `permitlisten` allows a port alone. */
function address(name: string, value: string, hostRequired: boolean): PermittedAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\*|\d{1,5})$/.exec(value)
  const alone = hostRequired ? null : /^(\*|\d{1,5})$/.exec(value)
  const host = match?.[1] ?? match?.[2] ?? (alone === null ? '' : '*')
  const portText = match?.[3] ?? alone?.[1]
  const port = portText === '*' ? undefined : Number(portText)
  if (host === '' || (port !== undefined && !(port >= 0 && port <= 65535))) {
    throw new TypeError(`the option "${name}" needs HOST:PORT, not "${value}"`)
  }
  return { host: host === '*' ? undefined : host, port }
}
