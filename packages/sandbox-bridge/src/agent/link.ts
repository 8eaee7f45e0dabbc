/** What a session and its client know of each other. */
import type { HeldBytes } from './held-bytes.ts'
import type {
  DataType,
  Feature,
  FsEntry,
  Message,
  MessageType,
  Payloads,
  Ping,
} from './messages.ts'
import type { AgentProcess, ExecOptions } from './process.ts'

/** The client, as a session sees it. */
export interface Link {
  /** Negotiated generation. */
  readonly generation: number
  has(feature: Feature): boolean
  /** What waits for readers on this connection. */
  readonly held: HeldBytes
  /** Sends one message; resolves when the carrier has taken it. @throws AgentError */
  send<T extends MessageType>(id: number, type: T, payload: Payloads[T]): Promise<void>
  /** Sends one data frame. The chunk may be reused once this has returned. */
  sendData(id: number, type: DataType, chunk: Uint8Array): Promise<void>
  /** Resolves with the pong. */
  ping(extension?: Ping): Promise<void>
  /** Starts a program of our own, beside those of users. */
  exec(options: ExecOptions): Promise<AgentProcess>
  /** A small text file of the guest. @throws AgentError */
  readonly readText: (path: string) => Promise<string>
  /** Attributes of a file, links followed. @throws AgentError */
  stat(path: string): Promise<FsEntry>
  /** Forgets the id; frames that still come for it are dropped. */
  release(id: number): void
}

/** One open id, as the client sees it. */
export interface Session {
  /** A message for this id. The client forgets the id after a terminal one. */
  handle(message: Message): void
  /** The carrier is gone, or the first message could not be sent. */
  lost(error: Error): void
}
