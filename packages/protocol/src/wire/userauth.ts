/** Messages of the authentication protocol: RFC 4252, RFC 4256. */
import { SshError } from '../errors.ts'
import { ascii, boolean, type Field, nameList, rest, string, utf8 } from './fields.ts'
import { type Message, message, type Struct, struct } from './message.ts'
import { MSG } from './numbers.ts'

/** SSH_MSG_USERAUTH_REQUEST, RFC 4252 §5. */
export interface UserauthRequest {
  readonly username: string
  readonly serviceName: string
  readonly methodName: string
  /** Fields of the method. */
  readonly methodSpecific: Uint8Array
}
export const userauthRequest: Message<UserauthRequest> = message(
  MSG.USERAUTH_REQUEST,
  'USERAUTH_REQUEST',
  { username: utf8, serviceName: ascii, methodName: ascii, methodSpecific: rest },
)

/** Method fields of `publickey`, RFC 4252 §7. */
export interface PublickeyRequest {
  /** False in a probe. */
  readonly signed: boolean
  readonly algorithm: string
  readonly publicKey: Uint8Array
  /** `string signature` if `signed`, else nothing. */
  readonly signaturePart: Uint8Array
}
export const publickeyRequest: Struct<PublickeyRequest> = struct({
  signed: boolean,
  algorithm: ascii,
  publicKey: string,
  signaturePart: rest,
})

/**
 * Method fields of `publickey-hostbound-v00@openssh.com`, OpenSSH PROTOCOL §3: the same, with the
 * host key of the first key exchange, so that a signature says whom it was made for.
 */
export interface PublickeyHostboundRequest {
  readonly signed: boolean
  readonly algorithm: string
  readonly publicKey: Uint8Array
  readonly hostKey: Uint8Array
  readonly signaturePart: Uint8Array
}
export const publickeyHostboundRequest: Struct<PublickeyHostboundRequest> = struct({
  signed: boolean,
  algorithm: ascii,
  publicKey: string,
  hostKey: string,
  signaturePart: rest,
})

/** What a publickey signature covers, RFC 4252 §7. */
export interface PublickeySigned {
  readonly sessionId: Uint8Array
  /** The USERAUTH_REQUEST up to and including the public key blob. */
  readonly request: Uint8Array
}
export const publickeySigned: Struct<PublickeySigned> = struct({ sessionId: string, request: rest })

/** Method fields of `hostbased`, RFC 4252 §9. The signature is over the same data as above. */
export interface HostbasedRequest {
  readonly algorithm: string
  /** Host key of the client's machine. */
  readonly hostKey: Uint8Array
  /** Full name of that machine. */
  readonly hostName: string
  /** User name there. */
  readonly clientUser: string
  /** `string signature`, or nothing in what is signed. */
  readonly signaturePart: Uint8Array
}
export const hostbasedRequest: Struct<HostbasedRequest> = struct({
  algorithm: ascii,
  hostKey: string,
  hostName: utf8,
  clientUser: utf8,
  signaturePart: rest,
})

/** Method fields of `password`, RFC 4252 §8. */
export interface PasswordRequest {
  readonly change: boolean
  readonly password: string
  /** `string newPassword` if `change`, else nothing. */
  readonly newPasswordPart: Uint8Array
}
export const passwordRequest: Struct<PasswordRequest> = struct({
  change: boolean,
  password: utf8,
  newPasswordPart: rest,
})

/** Method fields of `keyboard-interactive`, RFC 4256 §3.1. */
export interface KeyboardInteractiveRequest {
  readonly languageTag: string
  /** Comma-separated hints. */
  readonly submethods: readonly string[]
}
export const keyboardInteractiveRequest: Struct<KeyboardInteractiveRequest> = struct({
  languageTag: utf8,
  submethods: nameList,
})

/** SSH_MSG_USERAUTH_FAILURE, RFC 4252 §5.1. */
export interface UserauthFailure {
  readonly methods: readonly string[]
  readonly partialSuccess: boolean
}
export const userauthFailure: Message<UserauthFailure> = message(
  MSG.USERAUTH_FAILURE,
  'USERAUTH_FAILURE',
  { methods: nameList, partialSuccess: boolean },
)

/** SSH_MSG_USERAUTH_SUCCESS, RFC 4252 §5.1. */
export type UserauthSuccess = Readonly<Record<never, never>>
export const userauthSuccess: Message<UserauthSuccess> = message<UserauthSuccess>(
  MSG.USERAUTH_SUCCESS,
  'USERAUTH_SUCCESS',
  {},
)

/** SSH_MSG_USERAUTH_BANNER, RFC 4252 §5.4. */
export interface UserauthBanner {
  readonly text: string
  readonly languageTag: string
}
export const userauthBanner: Message<UserauthBanner> = message(
  MSG.USERAUTH_BANNER,
  'USERAUTH_BANNER',
  { text: utf8, languageTag: utf8 },
)

/** SSH_MSG_USERAUTH_PK_OK, RFC 4252 §7. */
export interface UserauthPkOk {
  readonly algorithm: string
  readonly publicKey: Uint8Array
}
export const userauthPkOk: Message<UserauthPkOk> = message(MSG.USERAUTH_PK_OK, 'USERAUTH_PK_OK', {
  algorithm: ascii,
  publicKey: string,
})

/** SSH_MSG_USERAUTH_PASSWD_CHANGEREQ, RFC 4252 §8. */
export interface UserauthPasswdChangereq {
  readonly prompt: string
  readonly languageTag: string
}
export const userauthPasswdChangereq: Message<UserauthPasswdChangereq> = message(
  MSG.USERAUTH_PASSWD_CHANGEREQ,
  'USERAUTH_PASSWD_CHANGEREQ',
  { prompt: utf8, languageTag: utf8 },
)

/** More would be no dialogue with a person. */
const PROMPTS_MAX = 32

function list<T>(
  what: string,
  read: (reader: Parameters<Field<T>['read']>[0]) => T,
  write: (writer: Parameters<Field<T>['write']>[0], value: T) => void,
): Field<readonly T[]> {
  return {
    read(reader) {
      const count = reader.uint32()
      if (count > PROMPTS_MAX) {
        throw new SshError('SSH_PROTOCOL', `malformed message: ${count} ${what}`)
      }
      return Array.from({ length: count }, () => read(reader))
    },
    write(writer, values) {
      writer.uint32(values.length)
      for (const value of values) write(writer, value)
    },
  }
}

/** SSH_MSG_USERAUTH_INFO_REQUEST, RFC 4256 §3.2. */
export interface UserauthInfoRequest {
  readonly name: string
  readonly instruction: string
  readonly languageTag: string
  readonly prompts: readonly { readonly prompt: string; readonly echo: boolean }[]
}
export const userauthInfoRequest: Message<UserauthInfoRequest> = message(
  MSG.USERAUTH_INFO_REQUEST,
  'USERAUTH_INFO_REQUEST',
  {
    name: utf8,
    instruction: utf8,
    languageTag: utf8,
    prompts: list(
      'prompts',
      (reader) => ({ prompt: reader.utf8(), echo: reader.boolean() }),
      (writer, { prompt, echo }) => writer.string(prompt).boolean(echo),
    ),
  },
)

/** SSH_MSG_USERAUTH_INFO_RESPONSE, RFC 4256 §3.4. */
export interface UserauthInfoResponse {
  readonly responses: readonly string[]
}
export const userauthInfoResponse: Message<UserauthInfoResponse> = message(
  MSG.USERAUTH_INFO_RESPONSE,
  'USERAUTH_INFO_RESPONSE',
  {
    responses: list(
      'responses',
      (reader) => reader.utf8(),
      (writer, value) => writer.string(value),
    ),
  },
)
