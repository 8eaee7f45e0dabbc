/**
 * Key exchange, the first and every later one: KEXINIT, the method's two messages, NEWKEYS, and
 * when to do it again. RFC 4253 §7 to §9.
 */
import { UNATTENDED } from '../algorithms/security-keys.ts'
import type { DhGroup, DhGroupRequest, KexInitiator, SignatureSpec } from '../algorithms/spec.ts'
import { assert } from '../assert.ts'
import { SshError } from '../errors.ts'
import { PublicKey } from '../keys/public-key.ts'
import { REKEY_BYTES, REKEY_MS, REKEY_PACKETS } from '../limits.ts'
import type { Context } from '../machine/context.ts'
import type { Negotiated } from '../machine/event.ts'
import { MSG } from '../wire/numbers.ts'
import {
  type Kexinit,
  kexGexGroup,
  kexGexInit,
  kexGexReply,
  kexGexRequest,
  kexInit,
  kexinit,
  kexReply,
  newKeys,
} from '../wire/transport.ts'
import { Writer } from '../wire/writer.ts'
import { deriveKeys, exchangeHash, type KeyMaterial } from './derive.ts'
import {
  type Agreement,
  type DirectionAgreement,
  makeKexinit,
  negotiate,
  peerIsStrict,
  peerWantsExtInfo,
} from './negotiate.ts'
import type { PacketReader, PacketWriter } from './packets.ts'

const NOTHING = new Uint8Array(0)

/**
 * When to exchange keys again, per direction; the sooner of all counts, and those that a cipher has
 * of its own (RFC 4344 §3), which cannot be exceeded.
 */
export interface RekeyLimits {
  /** Default 2^30. */
  readonly bytes?: number
  /** Default, and at most, 2^31. */
  readonly packets?: number
  /** Milliseconds since the last exchange. Default: one hour. */
  readonly ms?: number
}

/** Both KEXINITs and what they agree on. */
interface Exchange {
  readonly agreement: Agreement
  readonly own: Uint8Array
  readonly peer: Uint8Array
  /** Agreed on first, under group exchange (RFC 4419). */
  readonly group?: AgreedGroup
}

interface AgreedGroup {
  readonly group: DhGroup
  /** What the exchange hash covers of it. */
  readonly transcript: Uint8Array
}

type State =
  /** No exchange is under way. */
  | { readonly phase: 'idle' }
  | { readonly phase: 'kexinit-sent'; readonly own: Uint8Array }
  /** Group exchange: the client has asked for a group, the server is to be asked. */
  | { readonly phase: 'awaiting-group'; readonly exchange: Exchange }
  | { readonly phase: 'awaiting-group-request'; readonly exchange: Exchange }
  /** Client: INIT is out. */
  | {
      readonly phase: 'awaiting-reply'
      readonly exchange: Exchange
      readonly initiator: KexInitiator
    }
  /** Server: KEXINITs are out. */
  | { readonly phase: 'awaiting-init'; readonly exchange: Exchange }
  /** A question about the host key or its signature is open. */
  | { readonly phase: 'asking' }
  /** Our NEWKEYS is out, theirs is not in. */
  | {
      readonly phase: 'awaiting-newkeys'
      readonly exchange: Exchange
      readonly material: KeyMaterial
    }

/** What the exchange needs from the machine. */
export interface KeyExchangeOptions {
  /** Server: the keys it can sign with. */
  readonly hostKeys: readonly PublicKey[]
  readonly rekey: RekeyLimits
  readonly requireStrict: boolean
  /** Called right after our NEWKEYS, from which on everything may be sent again. */
  readonly newKeysSent: (initial: boolean) => void
}

/** Runs exchanges, puts their keys into force and knows when the next one is due. */
export class KeyExchange {
  readonly #context: Context
  readonly #options: KeyExchangeOptions
  readonly #writer: PacketWriter
  readonly #reader: PacketReader
  readonly #hostKeySpecs: readonly SignatureSpec[]
  #state: State = { phase: 'idle' }
  #ownIdentification = ''
  #peerIdentification = ''
  #acceptedHostKey: PublicKey | undefined
  /** A wrongly guessed packet of the peer is still to come (RFC 4253 §7). */
  #ignoreGuess = false
  #strict = false
  #startedMs: number
  #sinceMs: number
  #bytesMax: number
  #packetsMax: number
  /** The last agreement, for compression that starts later. */
  #agreed: Agreement | undefined
  #compresses = false
  /** Set by the first exchange and constant from then on. */
  sessionId: Uint8Array | undefined
  negotiated: Negotiated | undefined
  /** Blob of the host key of the first exchange. */
  hostKey: Uint8Array | undefined
  /** Client: the server's signature of the session id, by that key. */
  hostKeySignature: Uint8Array | undefined
  /** Whether the peer's first KEXINIT asked for EXT_INFO. */
  peerWantsExtInfo = false

  constructor(
    context: Context,
    writer: PacketWriter,
    reader: PacketReader,
    options: KeyExchangeOptions,
  ) {
    this.#context = context
    this.#options = options
    this.#writer = writer
    this.#reader = reader
    this.#startedMs = this.#sinceMs = context.nowMs
    this.#bytesMax = options.rekey.bytes ?? REKEY_BYTES
    this.#packetsMax = options.rekey.packets ?? REKEY_PACKETS
    this.#hostKeySpecs =
      context.role === 'client'
        ? context.algorithms.hostKeys
        : context.algorithms.hostKeys.filter((spec) =>
            options.hostKeys.some((key) => key.type === spec.keyType),
          )
  }

  /** The identification line that we sent. */
  setOwnIdentification(line: string): void {
    this.#ownIdentification = line
  }

  /** The peer's identification line, needed before its KEXINIT is looked at. */
  setPeerIdentification(line: string): void {
    this.#peerIdentification = line
  }

  /** When the exchange now under way began, or undefined if none is. */
  get startedMs(): number | undefined {
    return this.#state.phase === 'idle' ? undefined : this.#startedMs
  }

  /** Whether messages other than those of the transport layer may be sent: RFC 4253 §7.1. */
  get permitsSending(): boolean {
    const { phase } = this.#state
    return phase === 'idle' || phase === 'awaiting-newkeys'
  }

  get strict(): boolean {
    return this.#strict
  }

  /** Starts compression, which waits for the end of authentication (`zlib@openssh.com`). */
  startCompression(): void {
    this.#compresses = true
    if (this.#agreed === undefined) return
    this.#useCompressor(this.#agreed)
    this.#useDecompressor(this.#agreed)
  }

  /**
   * Which of the messages 1 to 49 may come now. The first exchange under strict kex allows the next
   * message of the exchange and DISCONNECT, nothing else (the Terrapin attack, CVE-2023-48795, lived
   * on IGNORE packets there).
   */
  permits(number: number): boolean {
    if (number === MSG.DISCONNECT) return true
    if (number >= 20) return this.#expects(number)
    if (this.#initial && this.#strict && this.#state.phase !== 'kexinit-sent') return false
    return number <= MSG.DEBUG
  }

  /** True from the peer's KEXINIT to its NEWKEYS, when it may send nothing else. */
  get peerIsExchanging(): boolean {
    return this.#state.phase !== 'idle' && this.#state.phase !== 'kexinit-sent'
  }

  /** Sends our KEXINIT, unless an exchange is under way already. */
  start(): void {
    if (this.#state.phase !== 'idle') return
    this.#startedMs = this.#context.nowMs
    const own = kexinit.encode(
      makeKexinit(
        this.#context.role,
        this.#context.algorithms,
        this.#hostKeySpecs,
        this.#context.crypto.random(16),
        this.#initial,
      ),
    )
    this.#writer.packet(own)
    this.#state = { phase: 'kexinit-sent', own }
  }

  /** Whether keys are used up and a new exchange should start; RFC 4253 §9, RFC 4344 §3. */
  get isDue(): boolean {
    if (this.#state.phase !== 'idle') return false
    const { nowMs } = this.#context
    return (
      this.#writer.bytesSinceKeys >= this.#bytesMax ||
      this.#reader.bytesSinceKeys >= this.#bytesMax ||
      this.#writer.packetsSinceKeys >= this.#packetsMax ||
      this.#reader.packetsSinceKeys >= this.#packetsMax ||
      nowMs >= this.dueMs
    )
  }

  /** When time alone makes it due. */
  get dueMs(): number {
    return this.#sinceMs + (this.#options.rekey.ms ?? REKEY_MS)
  }

  /** Takes a message of 20 to 49 that `permits` let through. */
  receive(payload: Uint8Array): void {
    const number = payload[0] as number
    if (this.#ignoreGuess && number >= MSG.KEX_INIT) {
      this.#ignoreGuess = false
      return
    }
    switch (number) {
      case MSG.KEXINIT:
        return this.#receiveKexinit(payload)
      case MSG.NEWKEYS:
        return this.#receiveNewKeys(payload)
      case MSG.KEX_GEX_REQUEST:
        return this.#receiveGroupRequest(payload)
      case MSG.KEX_INIT:
      case MSG.KEX_GEX_INIT:
        return this.#receiveInit(payload)
      default:
        if (this.#state.phase === 'awaiting-group') return this.#receiveGroup(payload)
        return this.#receiveReply(payload)
    }
  }

  get #initial(): boolean {
    return this.sessionId === undefined
  }

  #expects(number: number): boolean {
    if (this.#ignoreGuess && number >= MSG.KEX_INIT) return true
    switch (this.#state.phase) {
      case 'idle':
      case 'kexinit-sent':
        return number === MSG.KEXINIT
      case 'awaiting-group-request':
        return number === MSG.KEX_GEX_REQUEST
      case 'awaiting-group':
        return number === MSG.KEX_REPLY
      case 'awaiting-init':
        return number === (this.#state.exchange.group ? MSG.KEX_GEX_INIT : MSG.KEX_INIT)
      case 'awaiting-reply':
        return number === (this.#state.exchange.group ? MSG.KEX_GEX_REPLY : MSG.KEX_REPLY)
      case 'asking':
        return false
      case 'awaiting-newkeys':
        return number === MSG.NEWKEYS
    }
  }

  #receiveKexinit(payload: Uint8Array): void {
    const peer = kexinit.decode(payload)
    this.start()
    assert(this.#state.phase === 'kexinit-sent', 'our KEXINIT is out')
    if (this.#initial) this.#noteFirstKexinit(peer)
    const { role } = this.#context
    const own = this.#state.own
    const agreement = negotiate(
      role,
      this.#context.algorithms,
      this.#hostKeySpecs,
      kexinit.decode(own),
      peer,
    )
    this.#ignoreGuess = agreement.ignoreGuess
    const exchange: Exchange = { agreement, own, peer: payload.slice() }
    const { groupExchange } = agreement.kex
    if (role === 'server') {
      this.#state = { phase: groupExchange ? 'awaiting-group-request' : 'awaiting-init', exchange }
    } else if (groupExchange !== undefined) {
      this.#writer.packet(kexGexRequest.encode(groupExchange.request))
      this.#state = { phase: 'awaiting-group', exchange }
    } else {
      this.#sendInit(exchange)
    }
  }

  /** Server, RFC 4419: a group for what the client takes. */
  #receiveGroupRequest(payload: Uint8Array): void {
    assert(this.#state.phase === 'awaiting-group-request', 'permits() let only this through')
    const { exchange } = this.#state
    const request = kexGexRequest.decode(payload)
    const group = exchange.agreement.kex.groupExchange?.choose(request)
    assert(group !== undefined, 'the method agrees on a group')
    this.#writer.packet(kexGexGroup.encode(group))
    this.#state = { phase: 'awaiting-init', exchange: withGroup(exchange, request, group) }
  }

  /** Client, RFC 4419: the server's group. */
  #receiveGroup(payload: Uint8Array): void {
    assert(this.#state.phase === 'awaiting-group', 'permits() let only this through')
    const { exchange } = this.#state
    const { prime, generator } = kexGexGroup.decode(payload)
    const group = { prime: prime.slice(), generator: generator.slice() }
    const { groupExchange } = exchange.agreement.kex
    assert(groupExchange !== undefined, 'the method agrees on a group')
    groupExchange.check(group)
    this.#sendInit(withGroup(exchange, groupExchange.request, group))
  }

  #sendInit(exchange: Exchange): void {
    const { kex } = exchange.agreement
    const initiator = kex.initiate(this.#context.crypto, exchange.group?.group)
    const codec = exchange.group ? kexGexInit : kexInit
    this.#writer.packet(codec.encode({ ephemeralPublicKey: initiator.init }))
    this.#state = { phase: 'awaiting-reply', exchange, initiator }
  }

  #noteFirstKexinit(peer: Kexinit): void {
    const { role } = this.#context
    this.#strict = peerIsStrict(role, peer)
    this.peerWantsExtInfo = peerWantsExtInfo(role, peer)
    if (this.#strict && this.#reader.sequenceNumber !== 1) {
      throw new SshError('SSH_PROTOCOL', 'strict key exchange: KEXINIT was not the first packet')
    }
    if (!this.#strict && this.#options.requireStrict) {
      throw new SshError('SSH_KEY_EXCHANGE', 'the peer does not offer strict key exchange')
    }
  }

  /** Server: compute, ask for the signature, reply. */
  #receiveInit(payload: Uint8Array): void {
    assert(this.#state.phase === 'awaiting-init', 'permits() let only an expected INIT through')
    const { exchange } = this.#state
    const { agreement, group } = exchange
    const { ephemeralPublicKey } = (group ? kexGexInit : kexInit).decode(payload)
    const hostKey = this.#options.hostKeys.find((key) => key.type === agreement.hostKey.keyType)
    assert(hostKey !== undefined, `a host key for ${agreement.hostKey.name}`)
    const { reply, sharedSecret } = agreement.kex.respond(
      this.#context.crypto,
      ephemeralPublicKey,
      group?.group,
    )
    const material = this.#material(exchange, hostKey.blob, ephemeralPublicKey, reply, sharedSecret)
    this.#state = { phase: 'asking' }
    this.#context.ask(
      'sign',
      {
        purpose: 'host-key',
        publicKey: hostKey,
        algorithm: agreement.hostKey.name,
        data: material.exchangeHash,
      },
      (signature) => {
        if (signature === undefined) {
          throw new SshError('SSH_SIGN', `the host key ${hostKey.fingerprint()} did not sign`)
        }
        this.#writer.packet(
          (group ? kexGexReply : kexReply).encode({
            hostKey: hostKey.blob,
            ephemeralPublicKey: reply,
            signature,
          }),
        )
        this.#sendNewKeys(exchange, material)
      },
    )
  }

  /** Client: finish, verify the signature, ask whether this is the server's key. */
  #receiveReply(payload: Uint8Array): void {
    assert(this.#state.phase === 'awaiting-reply', 'permits() let only an expected REPLY through')
    const { exchange, initiator } = this.#state
    const { crypto } = this.#context
    const reply = (exchange.group ? kexGexReply : kexReply).decode(payload)
    const spec = exchange.agreement.hostKey
    const hostKey = PublicKey.fromBlob(reply.hostKey)
    if (hostKey.type !== spec.keyType) {
      throw new SshError('SSH_KEY_EXCHANGE', `a ${hostKey.type} host key under ${spec.name}`)
    }
    const sharedSecret = initiator.finish(reply.ephemeralPublicKey)
    const material = this.#material(
      exchange,
      reply.hostKey,
      initiator.init,
      reply.ephemeralPublicKey,
      sharedSecret,
    )
    if (!spec.verify(crypto, hostKey, material.exchangeHash, reply.signature, UNATTENDED)) {
      throw new SshError('SSH_KEY_EXCHANGE', 'the signature of the host key is wrong')
    }
    if (this.#initial) this.hostKeySignature = reply.signature.slice()
    if (this.#acceptedHostKey?.equals(hostKey)) {
      this.#sendNewKeys(exchange, material)
      return
    }
    this.#state = { phase: 'asking' }
    this.#context.ask('host-key', { hostKey, algorithm: spec.name }, (accepted) => {
      if (!accepted) {
        throw new SshError(
          'SSH_HOST_KEY_REJECTED',
          `the host key ${hostKey.type} ${hostKey.fingerprint()} was not accepted`,
        )
      }
      this.#acceptedHostKey = hostKey
      this.#sendNewKeys(exchange, material)
    })
  }

  #material(
    exchange: Exchange,
    hostKey: Uint8Array,
    clientEphemeral: Uint8Array,
    serverEphemeral: Uint8Array,
    sharedSecret: Uint8Array,
  ): KeyMaterial {
    const isClient = this.#context.role === 'client'
    const { hash } = exchange.agreement.kex
    this.hostKey ??= hostKey.slice()
    const own = this.#ownIdentification
    const peer = this.#peerIdentification
    const h = exchangeHash(this.#context.crypto, hash, {
      clientIdentification: isClient ? own : peer,
      serverIdentification: isClient ? peer : own,
      clientKexinit: isClient ? exchange.own : exchange.peer,
      serverKexinit: isClient ? exchange.peer : exchange.own,
      hostKey,
      group: exchange.group?.transcript ?? NOTHING,
      clientEphemeral,
      serverEphemeral,
      sharedSecret,
    })
    return { hash, sharedSecret, exchangeHash: h, sessionId: this.sessionId ?? h }
  }

  #sendNewKeys(exchange: Exchange, material: KeyMaterial): void {
    const { crypto, role } = this.#context
    this.#writer.packet(newKeys.encode({}))
    const which = role === 'client' ? 'clientToServer' : 'serverToClient'
    const direction = exchange.agreement[which]
    const keys = deriveKeys(crypto, material, which, direction)
    this.#writer.useKeys(direction.cipher.seal(crypto, keys, direction.mac), this.#strict)
    if (this.#compresses) this.#useCompressor(exchange.agreement)
    this.#state = { phase: 'awaiting-newkeys', exchange, material }
    this.#options.newKeysSent(this.#initial)
  }

  #receiveNewKeys(payload: Uint8Array): void {
    assert(
      this.#state.phase === 'awaiting-newkeys',
      'permits() let only an expected NEWKEYS through',
    )
    newKeys.decode(payload)
    const { exchange, material } = this.#state
    const { crypto, role } = this.#context
    const which = role === 'client' ? 'serverToClient' : 'clientToServer'
    const direction = exchange.agreement[which]
    const keys = deriveKeys(crypto, material, which, direction)
    this.#reader.useKeys(direction.cipher.open(crypto, keys, direction.mac), this.#strict)
    if (this.#compresses) this.#useDecompressor(exchange.agreement)
    this.#agreed = exchange.agreement
    material.sharedSecret.fill(0)
    const initial = this.#initial
    this.sessionId = material.sessionId
    this.#sinceMs = this.#context.nowMs
    this.#setRekeyLimits(exchange.agreement)
    this.#state = { phase: 'idle' }
    this.negotiated = describe(role, exchange.agreement, this.#strict)
    this.#context.emit({
      type: 'keys',
      initial,
      negotiated: this.negotiated,
      sessionId: material.sessionId,
    })
  }

  #useCompressor({ clientToServer, serverToClient }: Agreement): void {
    const out = this.#context.role === 'client' ? clientToServer : serverToClient
    this.#writer.useCompressor(out.compression.compressor?.())
  }

  #useDecompressor({ clientToServer, serverToClient }: Agreement): void {
    const incoming = this.#context.role === 'client' ? serverToClient : clientToServer
    this.#reader.useDecompressor(incoming.compression.decompressor?.())
  }

  /** A cipher may want new keys sooner than we do. */
  #setRekeyLimits({ clientToServer, serverToClient }: Agreement): void {
    const { rekey } = this.#options
    const ciphers = [clientToServer.cipher, serverToClient.cipher]
    const bytes = ciphers.map((cipher) => cipher.rekeyBytes ?? Number.POSITIVE_INFINITY)
    const packets = ciphers.map((cipher) => cipher.rekeyPackets ?? Number.POSITIVE_INFINITY)
    this.#bytesMax = Math.min(rekey.bytes ?? REKEY_BYTES, ...bytes)
    this.#packetsMax = Math.min(rekey.packets ?? REKEY_PACKETS, ...packets)
  }
}

/** Remembers a group, with what RFC 4419 §3 wants hashed of it: min, n, max, p and g. */
function withGroup(exchange: Exchange, request: DhGroupRequest, group: DhGroup): Exchange {
  const transcript = new Writer(1100)
    .uint32(request.minimum)
    .uint32(request.preferred)
    .uint32(request.maximum)
    .mpint(group.prime)
    .mpint(group.generator)
    .finish()
  return { ...exchange, group: { group, transcript } }
}

function describe(role: 'client' | 'server', agreement: Agreement, strict: boolean): Negotiated {
  const { kex, hostKey, clientToServer, serverToClient } = agreement
  const [out, incoming] =
    role === 'client' ? [clientToServer, serverToClient] : [serverToClient, clientToServer]
  const macName = (direction: DirectionAgreement): string => direction.mac?.name ?? 'implicit'
  return {
    kex: kex.name,
    hostKey: hostKey.name,
    cipherOut: out.cipher.name,
    cipherIn: incoming.cipher.name,
    macOut: macName(out),
    macIn: macName(incoming),
    compressionOut: out.compression.name,
    compressionIn: incoming.compression.name,
    strict,
    postQuantum: kex.postQuantum,
  }
}
