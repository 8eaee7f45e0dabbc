// OpenSSH's programs and rsync against our server, each as it is installed and for everything on the
// list; what is not installed is skipped.
// Time limit: 900 s

import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { OpenSsh } from '../peers/openssh.ts'
import { ask, cannot, fail, installed, type Subject, succeed } from './ask.ts'
import { checkFew, checkMany, fewOfMany, forbidden, mayChangeOwners, unicode } from './scene.ts'

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
  owner: mayChangeOwners((subject: Subject) =>
    sftp(subject, 'chown 12345 file', 'chgrp 54321 file'),
  ),
  times: (subject) => sftp(subject, 'put -p dated dated', 'get -p dated again'),
  room: async (subject) => assert.match(await sftp(subject, 'df -h .'), /\d+%/),
  unicode: (subject) =>
    sftp(subject, `put "${unicode}" "${unicode}"`, `get "${unicode}" "${unicode} back"`),
  lines: (subject) => sftp(subject, 'get lines/x* lines'),
  bytes: (subject) => sftp(subject, 'get bytes/x* bytes'),
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
    many: async (subject) => {
      // It lists only what it copies, or compares with a pattern.
      await fs.mkdir(join(subject.near, 'few'))
      await scp(subject, `peer:many/${fewOfMany}`, 'few')
      await checkFew(join(subject.near, 'few'))
    },
    mode: async (subject) => {
      await fs.writeFile(join(subject.near, 'file'), 'a file', { mode: 0o640 })
      await scp(subject, '-p', 'file', 'peer:file')
    },
    times: (subject) => thereAndBack(subject, 'dated', 'again'),
    unicode: (subject) => thereAndBack(subject, unicode, `${unicode} back`),
    lines:
      mode === '-s'
        ? (subject) => scp(subject, 'peer:lines/x*', 'lines')
        : 'by its own protocol, scp refuses names with control characters',
    bytes: (subject) =>
      // By its own protocol, it compares what it is sent with patterns, as text.
      scp(subject, '-r', ...(mode === '-s' ? ['peer:bytes/x*', 'bytes'] : ['peer:bytes', '.'])),
    ...cannot('it copies whole files, and does nothing else', 'resume', 'rename', 'room'),
    ...cannot('it follows links, and makes none', 'symlink', 'hardLink'),
    ...cannot('it does not keep owners', 'owner'),
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
  rename: 'it puts what it copies beside what is there, and then in its place: see the others',
  symlink: async (subject) => {
    await fs.symlink('file', join(subject.near, 'soft'))
    await rsync(subject, '-l', 'soft', 'peer:')
  },
  hardLink: async (subject) => {
    await fs.mkdir(join(subject.near, 'pair'))
    await fs.writeFile(join(subject.near, 'pair/file'), 'a file')
    await fs.link(join(subject.near, 'pair/file'), join(subject.near, 'pair/hard'))
    await rsync(subject, '-aH', 'pair/', 'peer:')
  },
  mode: async (subject) => {
    await fs.writeFile(join(subject.near, 'file'), 'a file')
    await rsync(subject, '-p', '--chmod=640', 'file', 'peer:')
  },
  owner: mayChangeOwners((subject: Subject) =>
    rsync(subject, '-og', '--chown=12345:54321', '--numeric-ids', 'file', 'peer:'),
  ),
  room: 'it does not ask',
  times: async (subject) => {
    await rsync(subject, '-a', 'dated', 'peer:dated')
    await rsync(subject, '-a', 'peer:dated', 'again')
  },
  unicode: async (subject) => {
    await rsync(subject, '-s', unicode, 'peer:')
    await rsync(subject, '-s', `peer:${unicode}`, `${unicode} back`)
  },
  lines: (subject) => rsync(subject, '-a', 'peer:lines/', 'lines'),
  bytes: (subject) => rsync(subject, '-a', 'peer:bytes/', 'bytes'),
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) {
      await rsync(subject, '-S', name, 'peer:')
      await rsync(subject, '-S', `peer:${name}`, `${name}.back`)
    }
  },
  errors: async (subject) => {
    const command = ['rsync', '-e', `ssh -F ${openssh(subject).config}`]
    await fail(subject, [...command, 'peer:missing', '.'], /No such file/)
    await fail(subject, [...command, 'empty', 'peer:/sys/new'], /denied|not permitted|Read-only/)
  },
})
