/** What a client says it wants to log in as, and the names that a certificate may have for that. */

/** A login, taken apart. */
export interface Login {
  /** As the client gave it. */
  readonly username: string
  /** The guest user in it; undefined where it names only a sandbox. */
  readonly user: string | undefined
  /** The sandbox in it, or the one that is served. */
  readonly sandbox: string
}

/** Names of sandboxes as they can stand in a login and in paths: no `/`, no `+`, no `%`. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** `devbox`, or `user+devbox`, of a gateway's client; undefined if it cannot be either. */
export function splitLogin(username: string): Login | undefined {
  const plus = username.lastIndexOf('+')
  const sandbox = username.slice(plus + 1)
  if (!NAME.test(sandbox) || plus === 0) return undefined
  return { username, user: plus === -1 ? undefined : username.slice(0, plus), sandbox }
}

/**
 * Checks templates of principals: `%r` stands for the login as the client gave it, `%u` for the user
 * and `%s` for the sandbox in it, `%%` for a percent sign.
 * @throws TypeError
 */
export function checkPrincipals(templates: readonly string[] | undefined): void {
  if (templates === undefined) return
  if (!Array.isArray(templates)) throw new TypeError('principals must be an array of names')
  for (const template of templates) {
    if (typeof template === 'string' && /^(?:[^%\s,\p{Cc}]|%[rus%])+$/u.test(template)) continue
    throw new TypeError(`principals: ${JSON.stringify(template)} is no name with %r, %u and %s`)
  }
}

/**
 * The names of which a certificate must have one. A template with `%u` is left out where the login
 * names no user.
 */
export function principalsOf(templates: readonly string[], login: Login): readonly string[] {
  return templates.flatMap((template) => {
    if (login.user === undefined && template.match(/%[rus%]/g)?.includes('%u')) return []
    return [
      template.replace(/%([rus%])/g, (_, token: string) => {
        switch (token) {
          case 'r':
            return login.username
          case 'u':
            return login.user ?? ''
          case 's':
            return login.sandbox
          default:
            return '%'
        }
      }),
    ]
  })
}
