/** Many sandboxes behind one server: the login says which, `devbox` or `user+devbox`. */
import type { Sandbox } from '../sandbox.ts'
import { Access, type AccessDecision, type AccessOptions } from './access.ts'
import { type Login, splitLogin } from './login.ts'
import type { Admission, AdmissionRequest, Place, Site } from './site.ts'
import type { Tenancy } from './tenancy.ts'

/** A sandbox that logins of a name lead to. */
export interface GatewaySandbox {
  readonly sandbox: Sandbox
  /** Guest user of logins that name none; default: the sandbox's own, else `root`. */
  readonly user?: string | undefined
}

/** Says which sandbox a name means; undefined for none. Names are checked before it is asked. */
export type SandboxResolver = (
  name: string,
) => GatewaySandbox | undefined | Promise<GatewaySandbox | undefined>

/** What a gateway consists of. */
export interface GatewayParts {
  readonly resolve: SandboxResolver
  readonly tenancy: Tenancy
  /** Guest user of every session, whatever the login says. */
  readonly user: string | undefined
  /** For each sandbox, with `%s` in paths for its name. */
  readonly access: Omit<AccessOptions, 'sandbox' | 'name'>
}

/** What the log says; clients cannot tell it from a key that may not enter. */
const UNKNOWN = 'no sandbox of that name is served here'

/** Decides about logins to any of them. */
export class Gateway implements Site {
  readonly name = undefined
  readonly #parts: GatewayParts

  constructor(parts: GatewayParts) {
    this.#parts = parts
  }

  /**
   * Asks for the sandbox and then, whether there is one or not, looks at the same files: neither the
   * answer nor its time shall tell a stranger which names are good.
   */
  async admit({ username, ...request }: AdmissionRequest): Promise<Admission> {
    const login = splitLogin(username)
    const found = login === undefined ? undefined : await this.#parts.resolve(login.sandbox)
    const asked: Login = login ?? { username, user: undefined, sandbox: 'none' }
    const access = accessTo(this.#parts, asked.sandbox, found?.sandbox)
    let decision: AccessDecision
    try {
      decision = access.decide({ ...request, login: asked })
    } catch (error) {
      if (found !== undefined) throw error
      decision = { type: 'refused', reason: UNKNOWN }
    }
    if (found === undefined) return { type: 'refused', reason: UNKNOWN }
    if (decision.type === 'refused') return decision
    return { ...decision, place: this.#placeOf(asked, found) }
  }

  close(): Promise<void> {
    return this.#parts.tenancy.close()
  }

  #placeOf(login: Login, { sandbox, user }: GatewaySandbox): Place {
    const { tenancy, user: fixed } = this.#parts
    const { sandbox: name } = login
    return {
      name,
      sandbox,
      // Asked for when somebody is in, as it may have to be read from the catalogue.
      get user() {
        return fixed ?? login.user ?? user ?? sandbox.user
      },
      enter: () => tenancy.enter(name, sandbox),
    }
  }
}

/**
 * Who may enter one sandbox of a gateway. Its own grants are those of the sandbox as `authorize
 * --sandbox` names it; of one reached by a function, those of its name at the gateway.
 */
export function accessTo(
  { access }: Pick<GatewayParts, 'access'>,
  name: string,
  sandbox: Sandbox | undefined,
): Access {
  return new Access({
    ...access,
    name,
    sandbox: sandbox?.hostKeyPath === undefined ? name : sandbox.label,
  })
}
