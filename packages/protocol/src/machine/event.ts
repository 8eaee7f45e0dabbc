/** What the machine tells its shell: facts, and questions that only the outside can answer. */
import type { Attestation } from '../algorithms/security-keys.ts'
import type { SignaturePolicy } from '../algorithms/spec.ts'
import type { SshError } from '../errors.ts'
import type { PublicKey } from '../keys/public-key.ts'

/** Identifies a channel on our side: our channel number, RFC 4254 §5. */
export type ChannelId = number
/** Identifies a question; hand it back to `answer…`. */
export type QuestionId = number

/** What proves to an agent which connection it is used for: the host key has signed the session id. */
export interface SessionBinding {
  /** That of the first key exchange; maybe a certificate. */
  readonly hostKey: PublicKey
  readonly sessionId: Uint8Array
  /** The server's signature of it, as in the key exchange. */
  readonly signature: Uint8Array
}

/** What was agreed in a key exchange, by registered names. */
export interface Negotiated {
  readonly kex: string
  readonly hostKey: string
  readonly cipherOut: string
  readonly cipherIn: string
  /** `implicit` under an authenticated cipher. */
  readonly macOut: string
  readonly macIn: string
  readonly compressionOut: string
  readonly compressionIn: string
  /** Whether strict key exchange is in force (OpenSSH PROTOCOL §1.10). */
  readonly strict: boolean
  readonly postQuantum: boolean
}

/** One client authentication attempt, in answer to an `authenticate-next` question. */
export type AuthAttempt =
  | { readonly method: 'none' }
  | {
      readonly method: 'publickey'
      readonly publicKey: PublicKey
      /** Signature algorithm, such as `rsa-sha2-512`. */
      readonly algorithm: string
    }
  | { readonly method: 'password'; readonly password: string; readonly newPassword?: string }
  | { readonly method: 'keyboard-interactive'; readonly submethods?: readonly string[] }
  | {
      readonly method: 'hostbased'
      /** Host key of this machine. */
      readonly publicKey: PublicKey
      readonly algorithm: string
      /** Name under which the server knows this machine. */
      readonly hostName: string
      /** User name here. */
      readonly clientUser: string
    }

/** How an attempt ended, as told to the next `authenticate-next`. */
export interface AuthOutcome {
  readonly attempt: AuthAttempt
  readonly partialSuccess: boolean
}

/** A prompt of keyboard-interactive, RFC 4256 §3.2. */
export interface Prompt {
  readonly prompt: string
  /** Whether what is typed may be shown. */
  readonly echo: boolean
}

/** What a client asks a server to accept, RFC 4252. */
export type AuthRequest =
  | { readonly method: 'none' }
  | {
      readonly method: 'publickey'
      readonly publicKey: PublicKey
      readonly algorithm: string
      /** True: only asks whether the key would do. False: the signature has been verified. */
      readonly probe: boolean
      /** What a security key attested with its signature; whether that will do, the verdict says. */
      readonly attestation?: Attestation
    }
  | {
      readonly method: 'password'
      readonly password: string
      /** Present when the client changes it (RFC 4252 §8). */
      readonly newPassword?: string
    }
  | {
      readonly method: 'keyboard-interactive'
      readonly submethods: readonly string[]
      /** Answers to the prompts of the previous `prompt` verdict; undefined at the start. */
      readonly responses: readonly string[] | undefined
    }
  | {
      readonly method: 'hostbased'
      /** The key whose signature has been verified. Whether it is that host's is not known yet. */
      readonly publicKey: PublicKey
      readonly algorithm: string
      /** Claimed; OpenSSH's client ends it with a dot. */
      readonly hostName: string
      /** Claimed by whoever holds the host key. */
      readonly clientUser: string
    }

/** A server's verdict on an `AuthRequest`. */
export type AuthVerdict =
  /** `policy`: what a security key must have attested; by default that it was touched. */
  | { readonly type: 'accept'; readonly policy?: SignaturePolicy }
  | { readonly type: 'reject' }
  /** This step is done, `methods` can continue (RFC 4252 §5.1). `policy` as above. */
  | {
      readonly type: 'partial'
      readonly methods: readonly string[]
      readonly policy?: SignaturePolicy
    }
  /** Only for keyboard-interactive: ask these and come back with the responses. */
  | {
      readonly type: 'prompt'
      readonly name: string
      readonly instruction: string
      readonly prompts: readonly Prompt[]
    }
  /** Only for password: the password is right but must be changed first. */
  | { readonly type: 'change-password'; readonly prompt: string }

/** Needs an answer; while one blocks the protocol, `wantsInput` is false. */
export type Question =
  /** Client: is this the server's key? `answerHostKey(id, accepted)`. */
  | {
      readonly type: 'question'
      readonly kind: 'host-key'
      readonly id: QuestionId
      readonly hostKey: PublicKey
      readonly algorithm: string
    }
  /** Sign `data`; the signer for `publicKey` is the shell's to find. `answerSignature(id, blob)`. */
  | {
      readonly type: 'question'
      readonly kind: 'sign'
      readonly id: QuestionId
      readonly purpose: 'host-key' | 'user-auth'
      readonly publicKey: PublicKey
      readonly algorithm: string
      readonly data: Uint8Array
    }
  /** Client: what to try next? `answerAttempt(id, attempt | undefined)`; undefined gives up. */
  | {
      readonly type: 'question'
      readonly kind: 'authenticate-next'
      readonly id: QuestionId
      /** Methods that can continue; undefined before the first answer of the server. */
      readonly methods: readonly string[] | undefined
      /** `server-sig-algs` of the server, or undefined if it told none. */
      readonly signatureAlgorithms: readonly string[] | undefined
      readonly last: AuthOutcome | undefined
    }
  /** Client: keyboard-interactive prompts. `answerPrompts(id, responses)`. */
  | {
      readonly type: 'question'
      readonly kind: 'prompts'
      readonly id: QuestionId
      readonly name: string
      readonly instruction: string
      readonly prompts: readonly Prompt[]
    }
  /** Client: the server wants a new password. `answerAttempt(id, attempt | undefined)`. */
  | {
      readonly type: 'question'
      readonly kind: 'change-password'
      readonly id: QuestionId
      readonly prompt: string
    }
  /** Server: may this user in? `answerAuthentication(id, verdict)`. */
  | {
      readonly type: 'question'
      readonly kind: 'authenticate'
      readonly id: QuestionId
      readonly username: string
      readonly request: AuthRequest
    }

/** Facts, in the order in which they became true. */
export type Event =
  | Question
  /** The peer's identification line, without CR LF. */
  | { readonly type: 'version'; readonly identification: string }
  /** Keys are in force; the first time also the session id is. */
  | {
      readonly type: 'keys'
      readonly initial: boolean
      readonly negotiated: Negotiated
      readonly sessionId: Uint8Array
    }
  /** Client: text to show before authentication ends. Untrusted; strip control characters. */
  | { readonly type: 'banner'; readonly message: string }
  /** Both roles: the connection protocol may begin. */
  | {
      readonly type: 'authenticated'
      readonly username: string
      readonly method: string
      /** Server: the last key that was accepted with its signature, if one was. */
      readonly publicKey?: PublicKey
    }
  /** An extension of the peer's EXT_INFO (RFC 8308). */
  | { readonly type: 'extension'; readonly name: string; readonly value: Uint8Array }
  /** The peer wants a channel; `acceptChannel(channel)` or `rejectChannel(channel, …)`. */
  | {
      readonly type: 'channel-open'
      readonly channel: ChannelId
      readonly channelType: string
      readonly typeSpecific: Uint8Array
    }
  /** The peer confirmed a channel of ours. */
  | {
      readonly type: 'channel-opened'
      readonly channel: ChannelId
      readonly typeSpecific: Uint8Array
    }
  /** The peer refused a channel of ours; the id is free again. */
  | {
      readonly type: 'channel-open-failed'
      readonly channel: ChannelId
      readonly reason: number
      readonly description: string
    }
  /** `data` is the receiver's to keep; call `consume(channel, data.length)` when it was taken. */
  | {
      readonly type: 'channel-data'
      readonly channel: ChannelId
      readonly data: Uint8Array
      /** 0 for CHANNEL_DATA, else data_type_code (1 is stderr). */
      readonly extended: number
    }
  /** `sendData` may grant more than it last did. */
  | { readonly type: 'channel-writable'; readonly channel: ChannelId }
  | { readonly type: 'channel-eof'; readonly channel: ChannelId }
  /** CLOSE came. We answered with our own; the id is free and nothing more follows for it. */
  | { readonly type: 'channel-closed'; readonly channel: ChannelId }
  /** `answerChannelRequest(channel, ok)` once for each with `wantReply`, in order. */
  | {
      readonly type: 'channel-request'
      readonly channel: ChannelId
      readonly request: string
      readonly data: Uint8Array
      readonly wantReply: boolean
    }
  /** Reply to a `channelRequest` of ours, in the order of asking. */
  | { readonly type: 'channel-reply'; readonly channel: ChannelId; readonly ok: boolean }
  /** `answerGlobalRequest(ok, data)` once for each with `wantReply`, in order. */
  | {
      readonly type: 'global-request'
      readonly request: string
      readonly data: Uint8Array
      readonly wantReply: boolean
    }
  /** Reply to a `globalRequest` of ours, in the order of asking. */
  | { readonly type: 'global-reply'; readonly ok: boolean; readonly data: Uint8Array }
  /** A PONG to a `ping` of ours (`ping@openssh.com`). */
  | { readonly type: 'pong'; readonly data: Uint8Array }
  /** The end; the machine is dead. `error` is absent after a disconnect that we asked for. */
  | { readonly type: 'closed'; readonly error: SshError | undefined }
