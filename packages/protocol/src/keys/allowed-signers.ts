/** Who may sign for what: the allowed_signers file of ssh-keygen(1). */
import { checkCertificate, isCertificate } from './certificate.ts'
import { parseTime, readQuoted } from './option-values.ts'
import { matchPatternList } from './pattern.ts'
import { PublicKey } from './public-key.ts'

/** One line that was understood. */
export interface AllowedSigner {
  /** Patterns of names, such as `*@example.com`. */
  readonly principals: readonly string[]
  readonly key: PublicKey
  /** The key signs certificates and not messages. */
  readonly certAuthority: boolean
  /** Patterns of purposes; undefined means any. */
  readonly namespaces: readonly string[] | undefined
  readonly validAfterMs: number
  readonly validBeforeMs: number
  /** From 1. */
  readonly line: number
}

/**
 * Reads an allowed_signers file. Never throws: a bad line is reported and allows nobody.
 *
 * @example
 * import { allowedSigner, generateKey, parseAllowedSigners } from '@sandbox-ssh/protocol'
 *
 * const key = generateKey('ed25519').publicKey
 * const { signers } = parseAllowedSigners(`*@example.com namespaces="git" ${key}`)
 * const asks = (namespace: string) =>
 *   allowedSigner(signers, { principal: 'ada@example.com', namespace, key })
 * console.log(asks('git'), asks('file')) // true false
 */
export function parseAllowedSigners(text: string): {
  readonly signers: readonly AllowedSigner[]
  readonly errors: readonly { readonly line: number; readonly message: string }[]
} {
  const signers: AllowedSigner[] = []
  const errors: { line: number; message: string }[] = []
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const content = raw.trim()
    if (content === '' || content.startsWith('#')) continue
    try {
      signers.push(parseLine(content, index + 1))
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      errors.push({ line: index + 1, message })
    }
  }
  return { signers, errors }
}

/**
 * True if a line allows `principal` to sign with `key` for `namespace` at that time.
 *
 * @example
 * import { allowedSigner, generateKey, parseAllowedSigners } from '@sandbox-ssh/protocol'
 *
 * const key = generateKey('ed25519').publicKey
 * const { signers } = parseAllowedSigners(`ada valid-before="20300101" ${key}`)
 * const request = { principal: 'ada', namespace: 'git', key }
 * const signedMs = Date.UTC(2029, 11, 31)
 * console.log(allowedSigner(signers, { ...request, nowMs: signedMs })) // true
 * console.log(allowedSigner(signers, { ...request, nowMs: Date.UTC(2031, 0, 1) })) // false
 */
export function allowedSigner(
  signers: readonly AllowedSigner[],
  request: {
    readonly principal: string
    readonly namespace: string
    readonly key: PublicKey
    /** When it was signed, if that is known from elsewhere. Default: now. */
    readonly nowMs?: number
  },
): boolean {
  const { principal, namespace, key } = request
  const nowMs = request.nowMs ?? Date.now()
  return signers.some((signer) => {
    if (matchPatternList(principal, signer.principals) !== 'allowed') return false
    const { namespaces, validAfterMs, validBeforeMs } = signer
    if (namespaces && matchPatternList(namespace, namespaces) !== 'allowed') return false
    if (nowMs < validAfterMs || nowMs >= validBeforeMs) return false
    if (!signer.certAuthority) return signer.key.equals(key)
    return isCertificate(key) && isVouchedFor(key, signer.key, principal, nowMs)
  })
}

function isVouchedFor(
  key: PublicKey,
  authority: PublicKey,
  principal: string,
  nowMs: number,
): boolean {
  try {
    checkCertificate(key, {
      role: 'user',
      authorities: [authority],
      principals: [principal],
      nowMs,
    })
    return true
  } catch {
    return false
  }
}

function parseLine(content: string, line: number): AllowedSigner {
  let at = 0
  let names: string
  if (content.startsWith('"')) {
    const quoted = readQuoted(content, 0)
    names = quoted.value
    at = quoted.end
  } else {
    names = /^\S+/.exec(content)?.[0] ?? ''
    at = names.length
  }
  const options = {
    certAuthority: false,
    namespaces: undefined as readonly string[] | undefined,
    validAfterMs: Number.NEGATIVE_INFINITY,
    validBeforeMs: Number.POSITIVE_INFINITY,
  }
  let rest = content.slice(at).trimStart()
  // As in authorized_keys: nothing but key data can look like this.
  while (!/^[a-z0-9@.-]+\s+AAAA/i.test(rest)) {
    const name = /^[a-z-]+/i.exec(rest)?.[0]
    if (name === undefined) throw new TypeError('no public key in the line')
    rest = rest.slice(name.length)
    let value: string | undefined
    if (rest.startsWith('="')) {
      const quoted = readQuoted(rest, 1)
      value = quoted.value
      rest = rest.slice(quoted.end)
    }
    applyOption(options, name.toLowerCase(), value)
    rest = rest.startsWith(',') ? rest.slice(1) : rest.trimStart()
  }
  return { principals: names.split(','), key: PublicKey.parse(rest), ...options, line }
}

function applyOption(
  options: {
    certAuthority: boolean
    namespaces: readonly string[] | undefined
    validAfterMs: number
    validBeforeMs: number
  },
  name: string,
  value: string | undefined,
): void {
  if (name === 'cert-authority' && value === undefined) options.certAuthority = true
  else if (name === 'namespaces' && value !== undefined) options.namespaces = value.split(',')
  else if (name === 'valid-after' && value !== undefined) options.validAfterMs = parseTime(value)
  else if (name === 'valid-before' && value !== undefined) options.validBeforeMs = parseTime(value)
  else throw new TypeError(`unknown or malformed option "${name}"`)
}
