// A client of a guest in this process, and small helpers for reading programs.

import { memoryPair } from '@sandbox-ssh/protocol'
import { AgentClient } from '../../src/agent/client.ts'
import type { AgentProcess } from '../../src/agent/process.ts'
import { type GuestAgent, type GuestAgentOptions, guestAgent } from '../../src/guest/agent.ts'

/** A fresh guest and one client of it. */
export async function connectGuest(
  options: GuestAgentOptions = {},
): Promise<{ guest: GuestAgent; client: AgentClient }> {
  const guest = guestAgent(options)
  return { guest, client: await clientOf(guest) }
}

/** One more client. */
export async function clientOf(guest: GuestAgent): Promise<AgentClient> {
  const [ours, theirs] = memoryPair()
  void guest.serve(theirs)
  return AgentClient.connect(ours)
}

/** All of stdout, or of what `read` reads, as text. */
export async function textOf(
  read: AgentProcess | (() => Promise<Uint8Array | undefined>),
): Promise<string> {
  const next = typeof read === 'function' ? read : () => read.read()
  const decoder = new TextDecoder()
  let text = ''
  for (let chunk = await next(); chunk !== undefined; chunk = await next()) {
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

/** Reads stdout until `wanted` has come; what came so far. */
export async function readUntil(program: AgentProcess, wanted: string): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  while (!text.includes(wanted)) {
    const chunk = await program.read()
    if (chunk === undefined) throw new Error(`ended after ${JSON.stringify(text)}`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

/** Bytes of a text. */
export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
