/** Messages of the transport layer: RFC 4253, RFC 8308, OpenSSH PROTOCOL §1.9. */
import { SshError } from '../errors.ts'
import {
  ascii,
  boolean,
  type Field,
  fixed,
  lastUtf8,
  mpint,
  nameList,
  string,
  uint32,
  utf8,
} from './fields.ts'
import { type Message, message } from './message.ts'
import { MSG } from './numbers.ts'

/** SSH_MSG_DISCONNECT, RFC 4253 §11.1. */
export interface Disconnect {
  readonly reasonCode: number
  readonly description: string
  readonly languageTag: string
}
export const disconnect: Message<Disconnect> = message(MSG.DISCONNECT, 'DISCONNECT', {
  reasonCode: uint32,
  description: utf8,
  // dev-tunnels-ssh has none.
  languageTag: lastUtf8,
})

/** SSH_MSG_UNIMPLEMENTED, RFC 4253 §11.4. */
export interface Unimplemented {
  /** Sequence number of the packet that was not understood. */
  readonly sequenceNumber: number
}
export const unimplemented: Message<Unimplemented> = message(MSG.UNIMPLEMENTED, 'UNIMPLEMENTED', {
  sequenceNumber: uint32,
})

/** SSH_MSG_IGNORE, RFC 4253 §11.2. */
export interface Ignore {
  readonly data: Uint8Array
}
export const ignore: Message<Ignore> = message(MSG.IGNORE, 'IGNORE', { data: string })

/** SSH_MSG_DEBUG, RFC 4253 §11.3. */
export interface Debug {
  readonly alwaysDisplay: boolean
  readonly text: string
  readonly languageTag: string
}
export const debug: Message<Debug> = message(MSG.DEBUG, 'DEBUG', {
  alwaysDisplay: boolean,
  text: utf8,
  languageTag: utf8,
})

/** SSH_MSG_SERVICE_REQUEST and SSH_MSG_SERVICE_ACCEPT, RFC 4253 §10. */
export interface Service {
  readonly serviceName: string
}
export const serviceRequest: Message<Service> = message(MSG.SERVICE_REQUEST, 'SERVICE_REQUEST', {
  serviceName: ascii,
})
export const serviceAccept: Message<Service> = message(MSG.SERVICE_ACCEPT, 'SERVICE_ACCEPT', {
  serviceName: ascii,
})

/** One extension of SSH_MSG_EXT_INFO. */
export interface Extension {
  readonly name: string
  readonly value: Uint8Array
}

/** Real peers send fewer than ten. */
const EXTENSIONS_MAX = 64

const extensionList: Field<readonly Extension[]> = {
  read(reader) {
    const count = reader.uint32()
    if (count > EXTENSIONS_MAX) {
      throw new SshError('SSH_PROTOCOL', `malformed message: ${count} extensions in EXT_INFO`)
    }
    const list: Extension[] = []
    for (let at = 0; at < count; at++) list.push({ name: reader.ascii(), value: reader.string() })
    return list
  },
  write(writer, list) {
    writer.uint32(list.length)
    for (const { name, value } of list) writer.string(name).string(value)
  },
}

/** SSH_MSG_EXT_INFO, RFC 8308 §2.3. */
export interface ExtInfo {
  readonly extensions: readonly Extension[]
}
export const extInfo: Message<ExtInfo> = message(MSG.EXT_INFO, 'EXT_INFO', {
  extensions: extensionList,
})

/** SSH_MSG_KEXINIT, RFC 4253 §7.1. */
export interface Kexinit {
  /** 16 random bytes. */
  readonly cookie: Uint8Array
  readonly kexAlgorithms: readonly string[]
  readonly serverHostKeyAlgorithms: readonly string[]
  readonly encryptionAlgorithmsClientToServer: readonly string[]
  readonly encryptionAlgorithmsServerToClient: readonly string[]
  readonly macAlgorithmsClientToServer: readonly string[]
  readonly macAlgorithmsServerToClient: readonly string[]
  readonly compressionAlgorithmsClientToServer: readonly string[]
  readonly compressionAlgorithmsServerToClient: readonly string[]
  readonly languagesClientToServer: readonly string[]
  readonly languagesServerToClient: readonly string[]
  readonly firstKexPacketFollows: boolean
  readonly reserved: number
}
export const kexinit: Message<Kexinit> = message(MSG.KEXINIT, 'KEXINIT', {
  cookie: fixed(16),
  kexAlgorithms: nameList,
  serverHostKeyAlgorithms: nameList,
  encryptionAlgorithmsClientToServer: nameList,
  encryptionAlgorithmsServerToClient: nameList,
  macAlgorithmsClientToServer: nameList,
  macAlgorithmsServerToClient: nameList,
  compressionAlgorithmsClientToServer: nameList,
  compressionAlgorithmsServerToClient: nameList,
  languagesClientToServer: nameList,
  languagesServerToClient: nameList,
  firstKexPacketFollows: boolean,
  reserved: uint32,
})

/** SSH_MSG_NEWKEYS, RFC 4253 §7.3. */
export type NewKeys = Readonly<Record<never, never>>
export const newKeys: Message<NewKeys> = message<NewKeys>(MSG.NEWKEYS, 'NEWKEYS', {})

/** SSH_MSG_KEX_ECDH_INIT and its likes, RFC 5656 §4; for DH the string is the body of an mpint. */
export interface KexInit {
  readonly ephemeralPublicKey: Uint8Array
}
export const kexInit: Message<KexInit> = message(MSG.KEX_INIT, 'KEX_INIT', {
  ephemeralPublicKey: string,
})

/** SSH_MSG_KEX_ECDH_REPLY and its likes, RFC 5656 §4. */
export interface KexReply {
  readonly hostKey: Uint8Array
  readonly ephemeralPublicKey: Uint8Array
  /** Over the exchange hash. */
  readonly signature: Uint8Array
}
export const kexReply: Message<KexReply> = message(MSG.KEX_REPLY, 'KEX_REPLY', {
  hostKey: string,
  ephemeralPublicKey: string,
  signature: string,
})

/** SSH_MSG_KEX_DH_GEX_REQUEST, RFC 4419 §3; sizes in bits. */
export interface KexGexRequest {
  readonly minimum: number
  readonly preferred: number
  readonly maximum: number
}
export const kexGexRequest: Message<KexGexRequest> = message(
  MSG.KEX_GEX_REQUEST,
  'KEX_GEX_REQUEST',
  { minimum: uint32, preferred: uint32, maximum: uint32 },
)

/** SSH_MSG_KEX_DH_GEX_GROUP, RFC 4419 §3. */
export interface KexGexGroup {
  readonly prime: Uint8Array
  readonly generator: Uint8Array
}
export const kexGexGroup: Message<KexGexGroup> = message(MSG.KEX_REPLY, 'KEX_GEX_GROUP', {
  prime: mpint,
  generator: mpint,
})

/** SSH_MSG_KEX_DH_GEX_INIT and _REPLY, RFC 4419 §3: as KEX_INIT and KEX_REPLY. */
export const kexGexInit: Message<KexInit> = message(MSG.KEX_GEX_INIT, 'KEX_GEX_INIT', {
  ephemeralPublicKey: string,
})
export const kexGexReply: Message<KexReply> = message(MSG.KEX_GEX_REPLY, 'KEX_GEX_REPLY', {
  hostKey: string,
  ephemeralPublicKey: string,
  signature: string,
})

/** SSH2_MSG_PING and PONG (`ping@openssh.com`), OpenSSH PROTOCOL §1.9. */
export interface Ping {
  readonly data: Uint8Array
}
export const ping: Message<Ping> = message(MSG.PING, 'PING', { data: string })
export const pong: Message<Ping> = message(MSG.PONG, 'PONG', { data: string })
