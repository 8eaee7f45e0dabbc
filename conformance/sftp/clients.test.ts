// Other people's programs against our server, each as it is installed and for all that it can do;
// what is not installed is skipped. What is written in Python or JavaScript: libraries.test.ts.
// Time limit: 900 s

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { OpenSsh } from '../peers/openssh.ts'
import { ask, fail, installed, type Subject, succeed } from './ask.ts'
import { canChangeOwners, checkMany, forbidden, unicode } from './scene.ts'

/** One configuration for all programs that a client runs. */
const configured = new WeakMap<Subject, OpenSsh>()

function openssh(subject: Subject): OpenSsh {
  const programs = configured.get(subject) ?? new OpenSsh(subject.server)
  configured.set(subject, programs)
  return programs
}

const has = await installed({
  ssh: ['ssh', '-V'],
  rsync: ['rsync', '--version'],
  psftp: ['psftp', '-V'],
  curl: ['sh', '-c', "curl --version | grep -q ' sftp '"],
  lftp: ['lftp', '--version'],
  rclone: ['rclone', 'version'],
})

// OpenSSH's sftp

function sftp(subject: Subject, ...commands: readonly string[]): Promise<string> {
  const command = ['sftp', '-q', '-F', openssh(subject).config, '-b', '-', 'peer']
  return succeed(subject, command, `${commands.join('\n')}\n`)
}

ask('sftp', has.ssh, {
  big: (subject) => sftp(subject, 'put big up', 'get up down'),
  tree: (subject) => sftp(subject, 'put -R tree/. trees/tree', 'get -R trees/tree back'),
  many: async (subject) => checkMany(await sftp(subject, 'ls -1 many')),
  resume: (subject) => sftp(subject, 'reput medium part', 'reget medium part'),
  rename: (subject) => sftp(subject, 'rename new old'),
  symlink: async (subject) => {
    const listing = await sftp(subject, 'ln -s file soft', 'ls -l')
    assert.match(listing, /^lrwxrwxrwx .* soft/m)
  },
  hardLink: (subject) => sftp(subject, 'ln file hard'),
  mode: (subject) => sftp(subject, 'chmod 640 file'),
  ...(canChangeOwners() && {
    owner: (subject: Subject) => sftp(subject, 'chown 12345 file', 'chgrp 54321 file'),
  }),
  times: (subject) => sftp(subject, 'put -p dated dated', 'get -p dated again'),
  room: async (subject) => assert.match(await sftp(subject, 'df -h .'), /\d+%/),
  unicode: (subject) =>
    sftp(subject, `put "${unicode}" "${unicode}"`, `get "${unicode}" "${unicode} back"`),
  odd: (subject) => sftp(subject, 'get odd/x* odd'),
  empty: (subject) =>
    sftp(subject, 'put empty', 'put sparse', 'get empty empty.back', 'get sparse sparse.back'),
  errors: async (subject) => {
    const command = ['sftp', '-q', '-F', openssh(subject).config, '-b', '-', 'peer']
    await fail(subject, command, /"\S+missing" not found/, 'get missing\n')
    await fail(subject, command, /Permission denied/, `rm ${forbidden}\n`)
  },
})

// OpenSSH's scp, over SFTP and by the protocol of its own

for (const mode of ['-s', '-O']) {
  const scp = (subject: Subject, ...args: readonly string[]): Promise<string> =>
    succeed(subject, ['scp', mode, '-q', '-F', openssh(subject).config, ...args])
  const thereAndBack = async (subject: Subject, name: string, back: string): Promise<void> => {
    // Without a folder in front, names with a colon would be hosts.
    await scp(subject, '-p', `./${name}`, `peer:${mode === '-O' ? shellQuoted(name) : name}`)
    await scp(subject, '-p', `peer:${mode === '-O' ? shellQuoted(name) : name}`, `./${back}`)
  }
  ask(`scp ${mode}`, has.ssh, {
    big: async (subject) => {
      await scp(subject, 'big', 'peer:up')
      await scp(subject, 'peer:up', 'down')
    },
    tree: async (subject) => {
      await scp(subject, '-r', 'tree/', 'peer:trees/tree')
      await scp(subject, '-r', 'peer:trees/tree', 'back')
    },
    times: (subject) => thereAndBack(subject, 'dated', 'again'),
    unicode: (subject) => thereAndBack(subject, unicode, `${unicode} back`),
    // By its own protocol, scp refuses names with control characters.
    ...(mode === '-s' && {
      odd: (subject: Subject) => scp(subject, 'peer:odd/x*', 'odd'),
    }),
    empty: async (subject) => {
      for (const name of ['empty', 'sparse']) await thereAndBack(subject, name, `${name}.back`)
    },
    errors: async (subject) => {
      const command = ['scp', mode, '-F', openssh(subject).config]
      await fail(subject, [...command, 'peer:missing', '.'], /No such file|not found/i)
      // Nobody can make a file there.
      await fail(subject, [...command, 'empty', 'peer:/sys/new'], /denied|Read-only|not permitted/)
    },
  })
}

/** As a shell reads it, and as the pattern with which scp compares what it is sent. */
function shellQuoted(name: string): string {
  return name.replaceAll(' ', '\\ ')
}

// rsync, whose other half runs on the server

const rsync = (subject: Subject, ...args: readonly string[]): Promise<string> =>
  succeed(subject, ['rsync', '-e', `ssh -F ${openssh(subject).config}`, ...args])

ask('rsync', has.rsync, {
  big: async (subject) => {
    await rsync(subject, 'big', 'peer:up')
    await rsync(subject, 'peer:up', 'down')
  },
  tree: async (subject) => {
    await rsync(subject, '-a', 'tree/', 'peer:trees/tree')
    await rsync(subject, '-a', 'peer:trees/tree', 'back')
  },
  many: async (subject) => checkMany(await rsync(subject, '--list-only', 'peer:many/')),
  resume: async (subject) => {
    await rsync(subject, '--append', 'medium', 'peer:part')
    await rsync(subject, '--append', 'peer:medium', 'part')
  },
  times: async (subject) => {
    await rsync(subject, '-a', 'dated', 'peer:dated')
    await rsync(subject, '-a', 'peer:dated', 'again')
  },
  unicode: async (subject) => {
    await rsync(subject, '-s', unicode, 'peer:')
    await rsync(subject, '-s', `peer:${unicode}`, `${unicode} back`)
  },
  odd: (subject) => rsync(subject, '-a', 'peer:odd/', 'odd'),
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) {
      await rsync(subject, '-S', name, 'peer:')
      await rsync(subject, '-S', `peer:${name}`, `${name}.back`)
    }
  },
  errors: async (subject) => {
    const command = ['rsync', '-e', `ssh -F ${openssh(subject).config}`]
    await fail(subject, [...command, 'peer:missing', '.'], /No such file/)
  },
})

// PuTTY's psftp

function psftpCommand({ server }: Subject): readonly string[] {
  const { port, username, password, hostKey } = server
  const login = ['-batch', '-P', String(port), '-l', username, '-pw', password]
  return ['psftp', ...login, '-hostkey', hostKey.fingerprint(), '-b', 'batch', '127.0.0.1']
}

async function psftp(subject: Subject, ...commands: readonly string[]): Promise<string> {
  await writeBatch(subject, commands)
  return succeed(subject, psftpCommand(subject))
}

/** It seeks in its script, which a pipe does not allow. */
function writeBatch({ near }: Subject, commands: readonly string[]): Promise<void> {
  return writeFile(join(near, 'batch'), `${commands.join('\n')}\n`)
}

ask('psftp', has.psftp, {
  big: (subject) => psftp(subject, 'put big up', 'get up down'),
  tree: (subject) => psftp(subject, 'put -r tree trees/tree', 'get -r trees/tree back/tree'),
  many: async (subject) => checkMany(await psftp(subject, 'ls many')),
  resume: (subject) => psftp(subject, 'reput medium part', 'reget medium part'),
  mode: (subject) => psftp(subject, 'chmod 640 file'),
  unicode: (subject) =>
    psftp(subject, `put "${unicode}" "${unicode}"`, `get "${unicode}" "${unicode} back"`),
  empty: (subject) =>
    psftp(subject, 'put empty', 'put sparse', 'get empty empty.back', 'get sparse sparse.back'),
  errors: async (subject) => {
    await writeBatch(subject, ['get missing'])
    await fail(subject, psftpCommand(subject), /no such file/i)
    await writeBatch(subject, [`rm ${forbidden}`])
    await fail(subject, psftpCommand(subject), /permission denied/i)
  },
})

for (const mode of ['-sftp', '-scp']) {
  const pscp = ({ server, near, far }: Subject, ...args: readonly string[]): Promise<string> => {
    const { port, username, password, hostKey } = server
    const login = ['-batch', '-q', '-P', String(port), '-l', username, '-pw', password]
    const command = ['pscp', mode, ...login, '-hostkey', hostKey.fingerprint()]
    return succeed({ near, far }, [...command, ...args])
  }
  ask(`pscp ${mode}`, has.psftp, {
    empty: async (subject) => {
      for (const name of ['empty', 'sparse']) {
        await pscp(subject, name, `127.0.0.1:${name}`)
        await pscp(subject, `127.0.0.1:${name}`, `${name}.back`)
      }
    },
  })
}

// curl

function curlCommand({ server }: Subject): readonly string[] {
  const { username, password, hostKey } = server
  const pin = hostKey.fingerprint().replace('SHA256:', '')
  return ['curl', '-sS', '--hostpubsha256', pin, '-u', `${username}:${password}`]
}

function url({ server, far }: Subject, name: string): string {
  return `sftp://127.0.0.1:${server.port}${far}/${encodeURIComponent(name)}`
}

const curl = (subject: Subject, ...args: readonly string[]): Promise<string> =>
  succeed(subject, [...curlCommand(subject), ...args])

/** Does something besides transferring: here, listing. */
const quote = (subject: Subject, command: string): Promise<string> =>
  curl(subject, `${url(subject, 'odd')}/../`, '-o', '/dev/null', '-Q', command)

ask('curl', has.curl, {
  big: async (subject) => {
    await curl(subject, '-T', 'big', url(subject, 'up'))
    await curl(subject, url(subject, 'up'), '-o', 'down')
  },
  many: async (subject) => checkMany(await curl(subject, '-l', `${url(subject, 'many')}/`)),
  resume: async (subject) => {
    await curl(subject, '-C', '-', '-T', 'medium', url(subject, 'part'))
    await curl(subject, '-C', '-', url(subject, 'medium'), '-o', 'part')
  },
  symlink: (subject) => quote(subject, `ln ${subject.far}/file ${subject.far}/soft`),
  mode: (subject) => quote(subject, `chmod 640 ${subject.far}/file`),
  room: async (subject) => {
    const command = `statvfs ${subject.far}`
    assert.match(
      await curl(subject, `${url(subject, 'many')}/`, '-D', '-', '-l', '-Q', command),
      /f_bsize: \d/,
    )
  },
  unicode: async (subject) => {
    await curl(subject, '-T', unicode, url(subject, unicode))
    await curl(subject, url(subject, unicode), '-o', `${unicode} back`)
  },
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) {
      await curl(subject, '-T', name, url(subject, name))
      await curl(subject, url(subject, name), '-o', `${name}.back`)
    }
  },
  errors: async (subject) => {
    const command = curlCommand(subject)
    await fail(
      subject,
      [...command, url(subject, 'missing')],
      /No such file|does not exist|Could not/,
    )
    const remove = ['-Q', `rm ${forbidden}`, `${url(subject, 'many')}/`]
    await fail(subject, [...command, ...remove], /Permission denied/i)
  },
})

// lftp

function lftpCommand({ server }: Subject, commands: readonly string[]): readonly string[] {
  const ssh = 'ssh -a -x -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=yes'
  const script = [
    `set sftp:connect-program '${ssh}'`,
    'set sftp:charset utf-8; set file:charset utf-8; set cmd:fail-exit yes; set net:max-retries 2',
    `open -u ${server.username},'${server.password}' -p ${server.port} sftp://127.0.0.1`,
    ...commands,
  ]
  return ['lftp', '-c', script.join('; ')]
}

const lftp = (subject: Subject, ...commands: readonly string[]): Promise<string> =>
  succeed(subject, lftpCommand(subject, [`cd ${subject.far}`, ...commands]))

ask('lftp', has.lftp, {
  big: (subject) => lftp(subject, 'put big -o up', 'get up -o down'),
  tree: (subject) => lftp(subject, 'mirror -R tree/ trees/tree', 'mirror trees/tree back/tree'),
  many: async (subject) => checkMany(await lftp(subject, 'cls -1 many/')),
  resume: (subject) => lftp(subject, 'put -c medium -o part', 'get -c medium -o part'),
  symlink: (subject) => lftp(subject, 'ln -s file soft'),
  mode: (subject) => lftp(subject, 'chmod 640 file'),
  times: (subject) => lftp(subject, 'put dated', 'get dated -o again'),
  unicode: (subject) => lftp(subject, `put "${unicode}"`, `get "${unicode}" -o "${unicode} back"`),
  empty: (subject) =>
    lftp(
      subject,
      'put empty',
      'put sparse',
      'get empty -o empty.back',
      'get sparse -o sparse.back',
    ),
  errors: async (subject) => {
    const [missing, remove] = [[`cd ${subject.far}`, 'get missing'], [`rm ${forbidden}`]]
    await fail(subject, lftpCommand(subject, missing), /No such file|not found/i)
    await fail(subject, lftpCommand(subject, remove), /denied|not permitted/i)
  },
})

// rclone

async function rcloneCommand(subject: Subject): Promise<readonly string[]> {
  const { port, username, password } = subject.server
  const obscured = (await succeed(subject, ['rclone', 'obscure', password])).trim()
  const remote = `host=127.0.0.1,port=${port},user=${username},pass=${obscured}`
  const rest = `known_hosts_file=${join(subject.near, 'known_hosts')},shell_type=none`
  const env = ['env', 'RCLONE_CONFIG=/dev/null', 'RCLONE_CONFIG_FAR_TYPE=sftp']
  const settings = `${remote},${rest}`
    .split(',')
    .map((setting) => setting.replace(/^[^=]+/, (key) => `RCLONE_CONFIG_FAR_${key.toUpperCase()}`))
  return [...env, ...settings, 'rclone', '-q', '--retries=1', '--low-level-retries=1']
}

const rclone = async (subject: Subject, ...args: readonly string[]): Promise<string> =>
  succeed(subject, [...(await rcloneCommand(subject)), ...args])

ask('rclone', has.rclone, {
  big: async (subject) => {
    await rclone(subject, 'copyto', 'big', 'far:up')
    await rclone(subject, 'copyto', 'far:up', 'down')
  },
  tree: async (subject) => {
    await rclone(subject, 'copy', 'tree/', 'far:trees/tree')
    await rclone(subject, 'copy', 'far:trees/tree', 'back/tree')
  },
  many: async (subject) => checkMany(await rclone(subject, 'lsf', 'far:many/')),
  rename: (subject) => rclone(subject, 'moveto', 'far:new', 'far:old'),
  times: async (subject) => {
    await rclone(subject, 'copyto', 'dated', 'far:dated')
    await rclone(subject, 'copyto', 'far:dated', 'again')
  },
  room: async (subject) => assert.match(await rclone(subject, 'about', 'far:'), /Total: +\d/),
  unicode: async (subject) => {
    await rclone(subject, 'copyto', unicode, `far:${unicode}`)
    await rclone(subject, 'copyto', `far:${unicode}`, `${unicode} back`)
  },
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) {
      await rclone(subject, 'copyto', name, `far:${name}`)
      await rclone(subject, 'copyto', `far:${name}`, `${name}.back`)
    }
  },
  errors: async (subject) => {
    const command = await rcloneCommand(subject)
    await fail(subject, [...command, 'copyto', 'far:missing', 'x'], /not found/)
    await fail(subject, [...command, 'mkdir', 'far:/sys/new'], /denied|Read-only/i)
  },
})
