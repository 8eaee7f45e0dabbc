/** Names in EXT_INFO. */

/** Extensions of RFC 8308 and OpenSSH's PROTOCOL that we tell or understand. */
export const EXTENSION = {
  SIGNATURE_ALGORITHMS: 'server-sig-algs',
  HOSTBOUND: 'publickey-hostbound@openssh.com',
  PING: 'ping@openssh.com',
  /** The server may tell its extensions anew once it knows the user. */
  IN_AUTH: 'ext-info-in-auth@openssh.com',
} as const
