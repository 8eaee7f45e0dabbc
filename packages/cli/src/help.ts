/** What `--help` says besides the options: examples, and what they mean. */

/** Shown below the options of `msb ssh …`. */
export const SSH_HELP: string = `
A sandbox is the name of a microsandbox, unix:/path/agent.sock, or local:NAME, the embedded
sandbox (local:NAME?net=host shares the network of this host). An embedded sandbox runs as long as
somebody is connected to it; its home and /tmp remain.

A stopped microsandbox is started by microsandbox's own program, and stopped again at the end unless
others use it. Other virtual machines and containers, with an agent inside:
  virtio-serial:/path/console.sock                QEMU's socket, or a character device
  vsock-unix:/path/v.sock:PORT                    Firecracker, cloud-hypervisor
  vsock:CID:PORT                                  the host's vsock
  "stdio:docker exec -i box msb-guest --stdio"    any command
  wss://host/path                                 a relay behind a WebSocket

Examples:
  msb ssh devbox                                  a shell
  msb ssh devbox -- uname -a                      a command
  msb ssh devbox -- sh -lc 'cd /app && npm test'  words arrive as they were typed
  tar c src | msb ssh devbox -- tar x -C /app     streams
  msb ssh authorize --file ~/.ssh/id_ed25519.pub
  msb ssh serve devbox --port 2222
`

/** Shown below the options of `msb ssh …`. */
export const CONNECT_HELP: string = `
Several words after -- are a program and its arguments, each passed on as it was typed; a single
word is a command line for the remote shell.

The exit status is that of the command; 128+n if signal n killed it; 127 if it could not be started;
255 if the connection was lost; 1 for an error on this side; 2 for wrong usage.

Examples:
  msb ssh connect devbox
  msb ssh connect devbox -- npm test
  msb ssh connect devbox -- 'cd /app; ls | wc -l'
  msb ssh --name serve -- true                    a sandbox called "serve"
  msb ssh devbox --tty -- top
  msb ssh devbox --user dev --env CI=1 --cwd /app -- make
  msb ssh devbox -L 8080:127.0.0.1:80             a shell, and a web server of the sandbox here
  msb ssh devbox -N -L 5432:127.0.0.1:5432 -D 1080
  msb ssh devbox -W 127.0.0.1:6379
  msb ssh devbox -R 3128:127.0.0.1:3128           a proxy of this machine in the sandbox

Forwards listen on 127.0.0.1 unless a bind address is given (* for all), and end with the session.
`

/** Shown below the options of `msb ssh …`. */
export const SERVE_HELP: string = `
SIGINT and SIGTERM stop it: open sessions may end by themselves for the time of --drain, a second
signal ends them at once. Whoever keeps failing to log in is turned away for a while.

Lines of authorized_keys may have the options from, expiry-time, command, permitopen, cert-authority,
principals, verify-required, restrict and no-pty, no-port-forwarding and the like; a line with any
other option lets nobody in. Security keys must be touched unless their line says no-touch-required.
Of certificates force-command, source-address and verify-required are enforced, and the extensions
are what they permit. All files are read again at each login.

Several sandboxes, a NAME=, --all or --match make a gateway: the login says which one is meant,
NAME or USER+NAME, and each has its own grants. A name that is not served looks like a key that may
not enter. A client chooses the host key before it says where it wants to go, so there is one for
all, the gateway's own. %s in a file of --authorized-keys, --ca or --revoked-keys stands for the name.

Examples:
  msb ssh serve devbox
  msb ssh serve devbox --port 0
  msb ssh serve devbox --read-only-sftp --permit-open 127.0.0.1:3000
  msb ssh serve devbox --audit-log /var/log/devbox.jsonl
  msb ssh serve devbox --ca /etc/ssh/user_ca.pub --revoked-keys /etc/ssh/revoked
  ssh -o ProxyCommand='msb ssh serve devbox --stdio' root@devbox
  msb ssh serve devbox test=local:test db=unix:/run/db/agent.sock
  msb ssh serve --all --start                     ssh -p 2222 user+devbox@gateway
`

/** Shown below the options of `msb ssh …`. */
export const AUTHORIZE_HELP: string = `
Examples:
  msb ssh authorize --file ~/.ssh/id_ed25519.pub
  msb ssh authorize --key 'ssh-ed25519 AAAA… ada@laptop'
  ssh-add -L | msb ssh authorize --stdin
  msb ssh authorize --sandbox devbox --expires 30d --file ci.pub --file ada.pub
  msb ssh authorize --ca --principals ada,ci --sandbox devbox --file user_ca.pub
  msb ssh authorize --list
  msb ssh authorize --revoke SHA256:…

Keys are for all sandboxes unless --sandbox names one. A key that is there already is not added
again; with --expires it gets the new date. --revoke takes it out of the one list or the other.
`

/** Shown below the options of `msb ssh …`. */
export const RELAY_HELP: string = `
Gives any number of processes a way to an agent that can be reached only once, such as one behind
virtio-serial:, at a Unix socket of this user. Other endpoints are dialled for each client.
virtio-serial:/path?booted is an agent that has had its handshake at boot already.

Examples:
  msb ssh relay virtio-serial:/run/vm/console.sock --listen /run/vm/agent.sock
  msb ssh unix:/run/vm/agent.sock
  msb ssh serve unix:/run/vm/agent.sock
`
