// The rules that `tidy.ts` applies, as functions from files to complaints.

import { posix } from 'node:path'

/** A file of the repository; `path` is relative to its root. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

/** What a package may import besides itself. */
interface Boundary {
  readonly packages: readonly string[]
  /** Folders and files below `src/` that may use Node's modules; `''` is all of it. */
  readonly node: readonly string[]
}

const noble = ['@noble/hashes', '@noble/curves', '@noble/ciphers', '@noble/post-quantum']

const boundaries: Readonly<Record<string, Boundary>> = {
  protocol: { packages: [...noble, 'pako'], node: [] },
  sftp: { packages: ['@sandbox-ssh/protocol'], node: [] },
  'sandbox-bridge': {
    packages: ['@sandbox-ssh/protocol', '@sandbox-ssh/sftp', 'cborg', '@lydell/node-pty', 'ws'],
    node: ['carriers/', 'guest/', 'home/', 'local/'],
  },
  cli: {
    packages: [
      '@sandbox-ssh/protocol',
      '@sandbox-ssh/sftp',
      '@sandbox-ssh/sandbox-bridge',
      '@lydell/node-pty',
      'commander',
    ],
    node: [''],
  },
}

/** Programs that nothing imports: bundled by `scripts/build.ts` or named in a package.json. */
const programs = [
  'packages/cli/src/main.ts',
  'packages/cli/src/sftp-server.ts',
  'packages/sandbox-bridge/src/guest/program.ts',
]

/**
 * Every breach of a rule as a line `path[:line]: what is wrong`.
 * @param machinePaths Absolute paths that must not appear in any file.
 */
export function complaints(
  files: readonly SourceFile[],
  machinePaths: readonly string[],
): readonly string[] {
  const sources = files.filter(({ path }) => /\.(ts|mjs)$/.test(path))
  return [
    ...sources.flatMap(headers),
    ...sources.flatMap(strayOnly),
    ...sources.flatMap(undocumentedExports),
    ...sources.flatMap(forbiddenImports),
    ...sources.flatMap(tooNewForNode20),
    ...deadFiles(sources, files),
    ...files.filter(({ path }) => path.endsWith('package.json')).flatMap(dependencies),
    ...files.flatMap((file) => leaks(file, machinePaths)),
  ].sort()
}

function headers({ path, text }: SourceFile): string[] {
  // A test of a package mirrors the file that it tests, whose header says what there is to say.
  if (/^packages\/.*\.test\.ts$/.test(path)) return []
  const [first = ''] = text.replace(/^#!.*\n/, '').split('\n')
  return /^(\/\/ |\/\*\*)/.test(first) ? [] : [`${path}: does not begin with a comment`]
}

function strayOnly({ path, text }: SourceFile): string[] {
  if (!path.endsWith('.test.ts')) return []
  return matches(text, /^\s*\w+\.only\(/gm).map((line) => `${path}:${line}: stray .only`)
}

function undocumentedExports({ path, text }: SourceFile): string[] {
  if (!/^packages\/[^/]+\/src\//.test(path)) return []
  const declaration =
    /^export (?:declare |abstract |async )*(?:const|function\*?|class|interface|type) (\w+)/
  const documented = new Set<string>()
  let previous = ''
  return text.split('\n').flatMap((line, index) => {
    const name = declaration.exec(line)?.[1]
    const above = previous
    previous = line
    if (name === undefined) return []
    const isFine =
      above.endsWith('*/') ||
      // Overloads, and groups without a blank line between, share the comment of the first.
      documented.has(declaration.exec(above)?.[1] ?? name) ||
      // An algorithm is named by its line, and documented by its family.
      /: \w+Spec = \w+\(/.test(line) ||
      // The codec of a message is described by the message's interface.
      documented.has(/: (?:Message|Struct)<(\w+)>/.exec(line)?.[1] ?? '')
    if (isFine) documented.add(name)
    return isFine ? [] : [`${path}:${index + 1}: export ${name} has no doc comment`]
  })
}

function forbiddenImports({ path, text }: SourceFile): string[] {
  const [, packageName = '', inside = ''] = /^packages\/([^/]+)\/src\/(.*)/.exec(path) ?? []
  const boundary = boundaries[packageName]
  if (boundary === undefined) return []
  return importsOf(text).flatMap(({ specifier, line }) => {
    const complaint = (why: string): string[] => [`${path}:${line}: imports ${specifier}: ${why}`]
    if (specifier.startsWith('.')) {
      const target = posix.join(posix.dirname(path), specifier)
      return target.startsWith(`packages/${packageName}/src/`)
        ? []
        : complaint("another package's internals")
    }
    if (specifier.startsWith('node:')) {
      return boundary.node.some((folder) => inside.startsWith(folder))
        ? []
        : complaint("Node's modules do not belong here")
    }
    const scope = specifier.startsWith('@') ? 2 : 1
    const imported = specifier.split('/').slice(0, scope).join('/')
    return boundary.packages.includes(imported) ? [] : complaint(`not for ${packageName}`)
  })
}

function tooNewForNode20({ path, text }: SourceFile): string[] {
  const code = withoutComments(text)
  const used = /\bPromise\.withResolvers\b|\bUint8Array\.from(?:Hex|Base64)\b|\bnew WebSocket\(/g
  return matches(code, used).map((line) => `${path}:${line}: is not in Node 20`)
}

/** Modules that no program, test or public entry reaches. */
function deadFiles(sources: readonly SourceFile[], files: readonly SourceFile[]): string[] {
  const byPath = new Map(sources.map((file) => [file.path, file]))
  const named = files
    .filter(({ path }) => /\.json$|\.md$|^\.ci\//.test(path))
    .map(({ text }) => text)
    .join('\n')
  const isRoot = ({ path }: SourceFile): boolean =>
    programs.includes(path) ||
    /\.(test|d)\.ts$/.test(path) ||
    // Run one by one, and by a test.
    /^(?:packages\/[^/]+\/bench|examples)\//.test(path) ||
    publicEntries(files).has(path) ||
    (!path.includes('/src/') && named.includes(posix.basename(path)))
  const alive = new Set(sources.filter(isRoot).map(({ path }) => path))
  for (const path of alive) {
    const text = byPath.get(path)?.text ?? ''
    // Programs started as `new URL('./x.ts', import.meta.url)` or named by path count as well.
    const references = [
      ...importsOf(text).map(({ specifier }) => specifier),
      ...[...text.matchAll(/'(\.{1,2}\/[^']+\.(?:ts|mjs))'/g)].map(([, path = '']) => path),
    ]
    for (const reference of references) {
      const target = reference.startsWith('.')
        ? posix.join(posix.dirname(path), reference)
        : reference
      if (byPath.has(target)) alive.add(target)
    }
    for (const [, target = ''] of text.matchAll(/'((?:scripts|bench|examples)\/[^']+)'/g)) {
      if (byPath.has(target)) alive.add(target)
    }
  }
  return sources
    .filter(({ path }) => !alive.has(path))
    .map(({ path }) => `${path}: nothing uses this file`)
}

function publicEntries(files: readonly SourceFile[]): Set<string> {
  const entries = files
    .filter(({ path }) => /^packages\/[^/]+\/package\.json$/.test(path))
    .flatMap(({ path, text }) =>
      [...text.matchAll(/"\.\/(src\/[^"]+\.ts)"/g)].map(([, entry = '']) =>
        posix.join(posix.dirname(path), entry),
      ),
    )
  return new Set(entries)
}

function dependencies({ path, text }: SourceFile): string[] {
  const packageName = /^packages\/([^/]+)\/package\.json$/.exec(path)?.[1] ?? ''
  const boundary = boundaries[packageName]
  if (boundary === undefined) return []
  const manifest = JSON.parse(text) as { dependencies?: Record<string, string> }
  return Object.entries(manifest.dependencies ?? {}).flatMap(([name, version]) => [
    ...(boundary.packages.includes(name) ? [] : [`${path}: may not depend on ${name}`]),
    ...(/^\d/.test(version) ? [] : [`${path}: ${name} is not pinned to a version`]),
  ])
}

function leaks({ path, text }: SourceFile, machinePaths: readonly string[]): string[] {
  const complaint = (pattern: RegExp, what: string): string[] =>
    matches(text, pattern).map((line) => `${path}:${line}: ${what}`)
  return [
    ...machinePaths.flatMap((machinePath) =>
      complaint(new RegExp(`${escapeRegExp(machinePath)}(?![\\w-])`, 'g'), 'path of this machine'),
    ),
    ...complaint(/"resolved": "ht[t]p|\bregistry\.\w+\.\w+/g, 'host of a package registry'),
    ...complaint(/\b(?:TO[D]O|FIX[M]E|XX[X])\b(?!\(#\d+\))/g, 'open end without an issue number'),
  ]
}

interface Import {
  readonly specifier: string
  readonly line: number
}

function importsOf(text: string): Import[] {
  const code = withoutComments(text)
  const statement =
    /^(?:import|export)\s(?:[\w*{}\s,$]*?\sfrom\s*)?'([^']+)'|\bimport\(\s*'([^']+)'/gm
  return [...code.matchAll(statement)].map((match) => ({
    specifier: match[1] ?? match[2] ?? '',
    line: lineOf(code, match.index),
  }))
}

/** Blanks out comments, keeping every line where it is. */
function withoutComments(text: string): string {
  return text
    .replace(/^\s*\/\*[\s\S]*?\*\//gm, (comment) => comment.replace(/[^\n]/g, ' '))
    .replace(/^\s*\/\/.*$/gm, '')
}

function matches(text: string, pattern: RegExp): number[] {
  return [...text.matchAll(pattern)].map(({ index }) => lineOf(text, index))
}

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split('\n').length
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
