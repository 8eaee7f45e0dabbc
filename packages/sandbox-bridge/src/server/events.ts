/** What happens on a server, for logs and audits. */

/** Which connection an event is about. */
export interface EventSource {
  /** Counted from 1 by each server. */
  readonly connection: number
  /** Address and port it comes from, if known. */
  readonly from: string | undefined
  /** The sandbox, as its users name it; undefined while nobody knows which one is meant. */
  readonly sandbox: string | undefined
}

/** Bytes of user data, both ways as the client sees them. */
export interface Traffic {
  /** From the client. */
  readonly bytesIn: number
  /** To the client, stderr included. */
  readonly bytesOut: number
}

/** A user, and by which key he is one. */
export interface Identity {
  /** The login name. */
  readonly user: string
  /** Type of the key, such as `ssh-ed25519`. */
  readonly keyType: string
  /** `SHA256:…`; of the key itself where a certificate was shown. */
  readonly key: string
  /** The certificate, if one was shown. */
  readonly certificate: CertificateIdentity | undefined
}

/** By which certificate somebody is who he is. */
export interface CertificateIdentity {
  /** What its authority calls it. */
  readonly id: string
  /** A decimal number of up to 64 bits. */
  readonly serial: string
  /** Fingerprint of the authority. */
  readonly authority: string
}

/** What a session was asked to run. */
export interface SessionSubject {
  /** `sftp` is a subsystem, `exec` a command. */
  readonly kind: 'exec' | 'shell' | 'subsystem'
  /** The command, or the name of the subsystem; empty for a shell. */
  readonly command: string
  /** The command that the key's line forces instead. */
  readonly forced: string | undefined
  readonly terminal: boolean
}

/** A destination that was asked for. */
export interface ForwardSubject {
  readonly host: string
  readonly port: number
}

/** One event; `ms` are milliseconds since the beginning of what ends. */
export type ServerEvent = EventSource &
  (
    | { readonly type: 'connected' }
    /** Not even spoken to. */
    | { readonly type: 'turned-away'; readonly reason: string }
    | ({ readonly type: 'key-refused'; readonly reason: string } & Identity)
    | ({ readonly type: 'logged-in'; readonly client: string } & Identity)
    | ({ readonly type: 'session-started'; readonly session: number } & Identity & SessionSubject)
    | ({
        readonly type: 'session-ended'
        readonly session: number
        readonly ms: number
        /** Exit status, if there was one. */
        readonly status: number | undefined
        /** The signal that ended it, without SIG. */
        readonly signal: string | undefined
      } & Identity &
        SessionSubject &
        Traffic)
    | ({ readonly type: 'forward-refused'; readonly reason: string } & Identity & ForwardSubject)
    /** A port or, with port 0 and a path as host, a socket that the client wanted inside. */
    | ({ readonly type: 'listen-refused'; readonly reason: string } & Identity & ForwardSubject)
    | ({ readonly type: 'listen-started' } & Identity & ForwardSubject)
    | ({
        readonly type: 'listen-ended'
        readonly ms: number
        /** How many came in there. */
        readonly accepted: number
      } & Identity &
        ForwardSubject &
        Traffic)
    | ({ readonly type: 'forward-started' } & Identity & ForwardSubject)
    | ({
        readonly type: 'forward-ended'
        readonly ms: number
        /** What broke it in the sandbox, or on the way there. */
        readonly reason: string | undefined
      } & Identity &
        ForwardSubject &
        Traffic)
    | ({
        readonly type: 'disconnected'
        readonly ms: number
        /** Undefined if nobody got in. */
        readonly identity: Identity | undefined
        /** What ended it, unless that was a goodbye. */
        readonly reason: string | undefined
      } & Traffic)
  )

/** Hears of everything, at once and in order. */
export type ServerEventListener = (event: ServerEvent) => void
