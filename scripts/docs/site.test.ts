// The site is built from what is in the clone; no link leads nowhere and nothing is loaded from
// elsewhere.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { commandTree } from '../../packages/cli/src/args.ts'
import { root } from '../bundle.mjs'
import { readApi } from './api.ts'
import { apiPageName } from './api-page.ts'
import { highlight } from './highlight.ts'
import { renderMarkdown } from './markdown.ts'
import { buildSite } from './site.ts'

const api = readApi()
const { files, complaints } = buildSite(api)

test('no link leads nowhere, and nothing is loaded from elsewhere', () => {
  assert.equal(complaints, [])
})

test('every export of every entry has a place of its own', () => {
  for (const { specifier, exports } of api) {
    const html = files.get(apiPageName(specifier)) ?? ''
    for (const { name } of exports) assert.ok(html.includes(`id="${name}"`), `${specifier} ${name}`)
  }
})

test('every command and option of msb is in its reference', () => {
  const html = files.get('cli.html') ?? ''
  const text = html.replaceAll(/<[^>]*>/g, '')
  const [ssh] = commandTree({ version: '0', env: {} }).commands
  assert.ok(ssh)
  for (const command of ssh.createHelp().visibleCommands(ssh)) {
    if (command.name() === 'help') continue
    assert.ok(text.includes(`msb ssh ${command.name()}`), command.name())
    for (const { long, hidden } of command.options) {
      if (!hidden && long) assert.ok(text.includes(long), `${command.name()} ${long}`)
    }
  }
})

test('every code of an error is explained', () => {
  const text = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8')
  const unions = api
    .flatMap(({ exports }) => exports)
    .filter(({ name }) => name === 'SshErrorCode' || name === 'SandboxErrorCode')
  assert.is(unions.length, 2)
  for (const { signatures } of unions) {
    for (const [, code = ''] of signatures.join().matchAll(/\| '([A-Z_]+)'/g)) {
      assert.ok(text.includes(`\`${code}\``), code)
    }
  }
})

test('every page of the guide is in the navigation', () => {
  const index = files.get('index.html') ?? ''
  for (const name of files.keys()) {
    if (/^(?:example|package)|\.css$/.test(name)) continue
    assert.ok(index.includes(`href="${name}"`), name)
  }
})

test('what a text says is never markup', () => {
  const options = { link: () => undefined, name: () => undefined }
  const { html } = renderMarkdown(
    '# A `<b>`\n\n<script>alert(1)</script>\n\n[x](javascript:y)',
    options,
  )
  assert.not.match(html, /<script|<b>|javascript:/)
  assert.is(
    highlight("a < '<b>' // &", 'ts').replaceAll(/<\/?span[^>]*>/g, ''),
    "a &lt; '&lt;b&gt;' // &amp;",
  )
})

test.run()
