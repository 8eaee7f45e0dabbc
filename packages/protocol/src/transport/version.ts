/** The identification exchange, RFC 4253 §4.2: one line each way before anything else. */
import { SshError } from '../errors.ts'
import {
  VERSION_BANNER_LINE_BYTES_MAX,
  VERSION_BANNER_LINES_MAX,
  VERSION_LINE_BYTES_MAX,
} from '../limits.ts'

const LF = 0x0a
const CR = 0x0d

/**
 * Our identification, without CR LF. RFC 4253 §4.2 wants no minus sign in the software version;
 * `sandbox-ssh` has one all the same, as other implementations' names do, and no peer minds.
 */
export function identification(software: string): string {
  if (!/^[!-~]+$/.test(software) || software.length > 200) {
    throw new TypeError(`softwareVersion: printable ASCII without blanks, not "${software}"`)
  }
  return `SSH-2.0-${software}`
}

/**
 * The line a server shows to the client that sent `peer`. OpenSSH's client tells that nobody reads
 * its standard output any more (`eow@openssh.com`) only to servers whose name begins with OpenSSH,
 * and without that `ssh HOST yes | head -1` never ends. To it, and to it alone, we are OpenSSH's kin;
 * our own name follows as the comment.
 */
export function identificationFor(peer: string, software: string): string {
  const own = identification(software)
  return peer.startsWith('SSH-2.0-OpenSSH') ? `SSH-2.0-OpenSSH_compatible ${software}` : own
}

/**
 * Whether a peer goes on with its channels between a later KEXINIT of its and its NEWKEYS, where RFC
 * 4253 §7.1 wants silence: AsyncSSH 2.10 as Debian 12 patches it, and dev-tunnels-ssh, which else
 * would lose their connections at every re-exchange. What they say there is authenticated by the keys that are still in
 * force, and answers to it are bounded as those to what comes before its KEXINIT. OpenSSH 9 lets
 * everybody do it. In the first exchange, where it would not be harmless, nobody is excepted.
 */
export function talksDuringExchange(peer: string): boolean {
  return /^SSH-2\.0-(AsyncSSH_2\.10\.|dev-tunnels-ssh_)/.test(peer)
}

/** Collects lines until the peer has identified itself. */
export class VersionReader {
  readonly #role: 'client' | 'server'
  #line: number[] = []
  #banners = 0

  /** `role` is ours; only a server may send other lines first. */
  constructor(role: 'client' | 'server') {
    this.#role = role
  }

  /**
   * Reads from `bytes`; returns the peer's identification (without CR LF) and how many bytes were
   * used, or undefined if all were and more are needed. Throws SshError `SSH_VERSION`.
   */
  read(bytes: Uint8Array): { identification: string; used: number } | undefined {
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] as number
      if (byte !== LF) {
        this.#line.push(byte)
        if (this.#line.length > this.#lineMax()) throw this.#refusal('a line that does not end')
        continue
      }
      const line = this.#takeLine()
      if (line.startsWith('SSH-')) return { identification: this.#check(line), used: at + 1 }
      if (this.#role === 'server' || ++this.#banners > VERSION_BANNER_LINES_MAX) {
        throw this.#refusal(JSON.stringify(line.slice(0, 80)))
      }
    }
    return undefined
  }

  /** An identification has a tighter bound than the lines a server may send before it. */
  #lineMax(): number {
    const [s, h] = this.#line
    const identifies = s === 0x53 && (h === undefined || h === 0x53)
    if (this.#role === 'server' || identifies) return VERSION_LINE_BYTES_MAX
    return VERSION_BANNER_LINE_BYTES_MAX
  }

  #takeLine(): string {
    if (this.#line.at(-1) === CR) this.#line.pop()
    const line = String.fromCharCode(...this.#line)
    this.#line = []
    return line
  }

  #check(line: string): string {
    const version = /^SSH-(\d+\.\d+)-/.exec(line)?.[1]
    // 1.99 is how a server that also speaks SSH 1 says 2.0 (RFC 4253 §5.1).
    if (version !== '2.0' && version !== '1.99') throw this.#refusal(JSON.stringify(line))
    if (!/^[ -~]+$/.test(line)) throw this.#refusal('control characters in its identification')
    return line
  }

  #refusal(found: string): SshError {
    return new SshError('SSH_VERSION', `the peer is no SSH 2.0 ${this.#other()}: it sent ${found}`)
  }

  #other(): string {
    return this.#role === 'server' ? 'client' : 'server'
  }
}
