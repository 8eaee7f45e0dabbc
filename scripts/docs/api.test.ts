// Reading the sources: what is exported is found with its comment, members and examples, and what is
// not documented is told. The sources themselves are judged by `npm run check`.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ApiEntry, type ApiExport, readApi } from './api.ts'
import { missingDocumentation } from './coverage.ts'
import { parseDocComment } from './doc-comment.ts'

const api = readApi()

function find(specifier: string, name: string): ApiExport {
  const entry = api.find((each) => each.specifier === specifier)
  const found = entry?.exports.find((each) => each.name === name)
  assert.ok(found, `${specifier} ${name}`)
  return found
}

test('functions, classes, constants and namespaces are read with what they consist of', () => {
  const connect = find('@sandbox-ssh/protocol', 'connect')
  assert.is(connect.kind, 'function')
  assert.equal(connect.signatures, [
    'function connect(transport: Transport, options: ClientOptions): Promise<Client>',
  ])
  assert.ok(connect.doc.examples[0]?.code.startsWith('import '))

  const client = find('@sandbox-ssh/protocol', 'Client')
  assert.is(client.kind, 'class')
  assert.ok(client.members.some(({ name }) => name === 'exec'))
  assert.not(client.members.some(({ name }) => name.startsWith('#')))
  // Said by its base, and told of it all the same; once, where both say it.
  assert.ok(client.members.some(({ name }) => name === 'rekey'))
  assert.is(client.members.filter(({ name }) => name === 'close').length, 1)

  assert.is(find('@sandbox-ssh/protocol/legacy', 'hmacSha1').kind, 'constant')
  assert.match(find('@sandbox-ssh/protocol/legacy', 'hmacSha1Etm').doc.text, /SHA-1/)
  const requests = find('@sandbox-ssh/protocol', 'requests')
  assert.is(requests.kind, 'namespace')
  assert.ok(requests.members.some(({ name }) => name === 'ptyRequest'))
})

test('an export without a comment or an example is told', () => {
  const bare = { ...find('@sandbox-ssh/protocol', 'connect'), doc: { text: '', examples: [] } }
  const place = `${bare.file}:${bare.line}`
  const entry = (...exports: ApiExport[]): ApiEntry => ({
    specifier: 'x',
    file: 'x.ts',
    doc: { text: 'X', examples: [] },
    exports,
  })
  const withExample = (code: string): ApiExport => ({
    ...bare,
    doc: { text: 'Connects.', examples: [{ code, line: 1 }] },
  })
  assert.equal(missingDocumentation([entry(bare)]), [
    `${place}: connect has no doc comment`,
    `${place}: connect has no @example that shows it`,
  ])
  assert.equal(missingDocumentation([entry(withExample('disconnect()'))]), [
    `${place}: connect has no @example that shows it`,
  ])
  const shown = withExample('connect()')
  assert.equal(missingDocumentation([entry(shown), entry(shown)]), [])
  assert.equal(missingDocumentation([entry(shown, { ...shown, line: 7 })]), [
    `${bare.file}:7: the example of connect is that of ${place}`,
  ])
})

test('a doc comment is taken apart into text and examples', () => {
  const comment = [
    '/**',
    '   * Does it.',
    '   *',
    '   *     indented',
    '   * @throws Error',
    '   *',
    '   * @example',
    '   * do(1)',
    '   * @example',
    '   * do(2)',
    '   */',
  ].join('\n')
  assert.equal(parseDocComment(comment), {
    text: 'Does it.\n\n    indented\n*throws:* Error',
    examples: [
      { code: 'do(1)', line: 7 },
      { code: 'do(2)', line: 9 },
    ],
  })
  assert.equal(parseDocComment('/** One line. */'), { text: 'One line.', examples: [] })
})

test.run()
