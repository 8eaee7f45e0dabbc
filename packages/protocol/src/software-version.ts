/** What we call ourselves. */

/** Software version in our identification line, RFC 4253 §4.2; that of package.json. */
export const SOFTWARE_VERSION: string = 'sandbox-ssh_0.1.0'
