/** Where logins lead: into the one sandbox of a server, or into the one that the login names. */
import type { Attestation, AuthorizedKeyOptions, PublicKey } from '@sandbox-ssh/protocol'
import type { AgentClient } from '../agent/client.ts'
import type { Sandbox } from '../sandbox.ts'
import type { Access } from './access.ts'

/** A key, and what its owner wants to log in as. */
export interface AdmissionRequest {
  readonly key: PublicKey
  readonly username: string
  readonly address: string | undefined
  readonly attestation: Attestation | undefined
}

/** Let in, and where; or not, and why. */
export type Admission =
  | { readonly type: 'granted'; readonly options: AuthorizedKeyOptions; readonly place: Place }
  | { readonly type: 'refused'; readonly reason: string }

/** A sandbox that somebody has logged in to. */
export interface Place {
  /** As its users name it. */
  readonly name: string
  readonly sandbox: Sandbox
  /** Guest user of his sessions; undefined for the login name. */
  readonly user: string | undefined
  /** Takes a place in it for a connection; undefined if there is none left. */
  enter(): Stay | undefined
}

/** One connection's stay in a sandbox. */
export interface Stay {
  /**
   * A connection to the agent, starting the sandbox before if that is to be done.
   * @throws SandboxError, AgentError
   */
  connect(): Promise<AgentClient>
  leave(): void
}

/** Decides about logins. */
export interface Site {
  /** What is served, where that does not depend on the login. */
  readonly name: string | undefined
  /** @throws SandboxError if who may enter cannot be known */
  admit(request: AdmissionRequest): Admission | Promise<Admission>
  /** Lets go of what is kept for connections to come. */
  close(): Promise<void>
}

/** One sandbox, whatever the login; `user` is the guest user, if not the login name. */
export function singleSite(sandbox: Sandbox, access: Access, user: string | undefined): Site {
  const place: Place = {
    name: sandbox.label,
    sandbox,
    user,
    enter: () => ({ connect: () => sandbox.connectAgent(), leave: () => {} }),
  }
  return {
    name: sandbox.label,
    admit: ({ username, ...request }) => {
      const login = { username, user: username, sandbox: sandbox.label }
      const decision = access.decide({ ...request, login })
      return decision.type === 'refused' ? decision : { ...decision, place }
    },
    close: () => Promise.resolve(),
  }
}
