/** What the sessions of a client have in common. */
import type { DataType, MessageType, Payloads } from '../agent/messages.ts'

/** A session's way back to its client; messages go out under the session's id. */
export interface Reply {
  /** Queues a message at once: an answer, an end. */
  post<T extends MessageType>(type: T, payload: Payloads[T]): void
  /** Queues data and waits until there is room for more. */
  data(type: DataType, chunk: Uint8Array): Promise<void>
}

/** A running exec or TCP session. */
export interface GuestSession {
  /** More output may be sent. */
  credit(bytes: number): void
  /** Resolves when the input so far has been taken, or nobody is left to take it. */
  inputDrained(): Promise<void>
  /** Resolves while more input may come; `undefined` if it may right now. */
  inputRoom(): Promise<void> | undefined
  /** The client is gone. */
  abandon(): void
}
