/** Small programs of ours that an interpreter of the guest's runs, for what its agent cannot do. */
import type { AgentClient } from './agent/client.ts'
import type { AgentProcess } from './agent/process.ts'
import { findTool } from './file-tools.ts'
import { refuse } from './forwarding.ts'

/** Most that is kept of what went wrong. */
const COMPLAINT_BYTES_MAX = 4096

/** One of several that do the same, each for another interpreter. */
export interface GuestProgram {
  /** The interpreter. */
  readonly name: string
  /** The program, before what it is given. */
  readonly args: readonly string[]
}

/**
 * The first for which the guest has the interpreter; `what` says what it would be for.
 * @throws ChannelOpenError, prohibited if it has none
 */
export async function findProgram(
  agent: AgentClient,
  programs: readonly GuestProgram[],
  what: string,
): Promise<{ readonly command: string; readonly args: readonly string[] }> {
  for (const { name, args } of programs) {
    const command = await findTool(agent, name)
    if (command !== undefined) return { command, args }
  }
  const names = programs.map(({ name }) => name).join(', ')
  return refuse(`${what} takes one of ${names} in the sandbox`)
}

/** What a program said at its end, in one line; `otherwise` if that is nothing. */
export async function complaint(program: AgentProcess, otherwise: string): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for (let chunk = await program.readStderr(); chunk; chunk = await program.readStderr()) {
    if (text.length < COMPLAINT_BYTES_MAX) text += decoder.decode(chunk, { stream: true })
  }
  const [line = ''] = text.trim().split('\n')
  return line === '' ? otherwise : line.slice(0, 200)
}
