// What the packages export, read from their sources by the compiler: kind, declaration, doc comment
// and members of everything that an entry in a package.json lets out.
//
// The compiler's interface for programs is marked unstable; the version is pinned, and this file is
// all that uses it.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { type Node, SyntaxKind } from 'typescript/unstable/ast'
import { API, type Project, SymbolFlags, type Symbol as TsSymbol } from 'typescript/unstable/sync'
import { root, sourceCondition } from '../bundle.mjs'
import { type DocComment, parseDocComment } from './doc-comment.ts'

/** What an export is. */
export type ApiKind = 'function' | 'class' | 'interface' | 'type' | 'constant' | 'namespace'

/** A property, method or member of a namespace. */
export interface ApiMember {
  readonly name: string
  readonly signature: string
  readonly doc: DocComment
}

/** Something exported. */
export interface ApiExport {
  readonly name: string
  readonly kind: ApiKind
  /** Its declarations without bodies; several for overloads. */
  readonly signatures: readonly string[]
  readonly doc: DocComment
  readonly members: readonly ApiMember[]
  /** Path from the root, and line. */
  readonly file: string
  readonly line: number
}

/** An entry of a package. */
export interface ApiEntry {
  /** What is imported, such as `@sandbox-ssh/protocol/legacy`. */
  readonly specifier: string
  readonly file: string
  /** What the file says of itself. */
  readonly doc: DocComment
  readonly exports: readonly ApiExport[]
}

interface EntryFile {
  readonly specifier: string
  readonly project: string
  readonly file: string
}

/** The entries that package.json files name. */
export function entryFiles(): EntryFile[] {
  return readdirSync(join(root, 'packages')).flatMap((folder) => {
    const project = `packages/${folder}`
    const manifest = JSON.parse(readFileSync(join(root, project, 'package.json'), 'utf8')) as {
      name: string
      exports?: Record<string, Record<string, string>>
    }
    return Object.entries(manifest.exports ?? {}).map(([path, targets]) => ({
      specifier: join(manifest.name, path),
      project,
      file: join(project, targets[sourceCondition] ?? ''),
    }))
  })
}

/** Reads all entries; takes some seconds. */
export function readApi(): ApiEntry[] {
  const entries = entryFiles()
  const api = new API({ cwd: root })
  try {
    const config = ({ project }: EntryFile): string => join(root, project, 'tsconfig.json')
    const snapshot = api.updateSnapshot({ openProjects: [...new Set(entries.map(config))] })
    return entries.map((entry) => {
      const project = snapshot.getProject(config(entry))
      if (project === undefined) throw new Error(`${entry.project} could not be read`)
      return readEntry(entry, project)
    })
  } finally {
    api.close()
  }
}

function readEntry({ specifier, file }: EntryFile, project: Project): ApiEntry {
  const source = project.program.getSourceFile(join(root, file))
  const module = source && project.checker.getSymbolAtLocation(source)
  if (source === undefined || module === undefined) throw new Error(`${file} exports nothing`)
  return {
    specifier,
    file,
    doc: headerOf(source.text),
    exports: project.checker
      .getExportsOfModule(module)
      .map((symbol) => readExport(symbol, project))
      .sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1)),
  }
}

function readExport(exported: TsSymbol, project: Project): ApiExport {
  const symbol =
    exported.flags & SymbolFlags.Alias ? project.checker.getAliasedSymbol(exported) : exported
  const nodes = symbol.declarations.flatMap((handle) => {
    const node = handle.resolve(project) as Declaration | undefined
    return node === undefined ? [] : [node]
  })
  const [first] = nodes
  if (first === undefined) throw new Error(`${exported.name} has no declaration`)
  const kind = kindOf(first)
  const source = first.getSourceFile()
  const statement = kind === 'constant' ? (first.parent?.parent ?? first) : first
  // The body that follows overloads is not for users.
  const visible = nodes.length > 1 ? nodes.filter(({ body }) => body === undefined) : nodes
  return {
    name: exported.name,
    kind,
    signatures: visible.map((node) => signatureOf(node, kind)),
    doc: kind === 'namespace' ? headerOf(source.text) : docOf(statement, source.text),
    members:
      kind === 'namespace'
        ? namespaceMembers(symbol, project)
        : [...membersOf(first), ...inheritedMembers(first, project)],
    file: relative(root, source.fileName),
    line: source.text.slice(0, statement.getStart()).split('\n').length,
  }
}

/** What is used of the compiler's nodes; their classes have no such properties in common. */
interface Declaration {
  readonly kind: SyntaxKind
  readonly pos: number
  readonly parent?: Declaration
  readonly name?: { getText(): string }
  readonly body?: { readonly pos: number }
  readonly type?: { readonly end: number }
  readonly members?: readonly Declaration[]
  readonly heritageClauses?: readonly {
    readonly token: SyntaxKind
    readonly types: readonly { readonly expression: Node }[]
  }[]
  readonly modifiers?: readonly { readonly kind: SyntaxKind }[]
  readonly jsDoc?: readonly { getText(): string }[]
  getStart(): number
  getText(): string
  getSourceFile(): { readonly text: string; readonly fileName: string }
}

function kindOf({ kind }: Declaration): ApiKind {
  switch (kind) {
    case SyntaxKind.FunctionDeclaration:
      return 'function'
    case SyntaxKind.ClassDeclaration:
      return 'class'
    case SyntaxKind.InterfaceDeclaration:
      return 'interface'
    case SyntaxKind.TypeAliasDeclaration:
      return 'type'
    case SyntaxKind.VariableDeclaration:
      return 'constant'
    case SyntaxKind.SourceFile:
      return 'namespace'
    default:
      throw new Error(`an export of a kind that has no place in the reference: ${kind}`)
  }
}

function signatureOf(node: Declaration, kind: ApiKind): string {
  const text = node.getSourceFile().text
  const start = node.getStart()
  const clean = (end: number): string =>
    text
      .slice(start, end)
      .replace(/^export (?:async )?/, '')
      .replace(/\s*=?\s*$/, '')
  switch (kind) {
    case 'function':
      return clean(node.body?.pos ?? start + node.getText().length)
    case 'class':
    case 'interface':
      return clean(text.indexOf('{', start))
    case 'constant': {
      // Its type where it is written down; else its value, such as a table of numbers.
      const end = node.type?.end ?? start + node.getText().length
      return `const ${clean(end)}`
    }
    case 'type':
      return clean(start + node.getText().length)
    case 'namespace':
      return ''
  }
}

/** What a file says of itself. */
function headerOf(text: string): DocComment {
  return parseDocComment(/^\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? '')
}

/** The comment of a declaration, or that of the group without blank lines in which it stands. */
function docOf(node: Declaration, text: string): DocComment {
  const own = node.jsDoc?.at(-1)?.getText()
  // The first comment of a file is about the file.
  if (own !== undefined && text.indexOf(own) !== 0) return parseDocComment(own)
  const above = text.slice(0, node.getStart()).split(/\n\s*\n/)
  const shared = /^\s*\/\*\*[\s\S]*?\*\//.exec(above.at(-1) ?? '')?.[0].trim()
  return parseDocComment(shared !== undefined && text.indexOf(shared) > 0 ? shared : '')
}

function membersOf(node: Declaration): ApiMember[] {
  const source = node.getSourceFile()
  const hidden: readonly SyntaxKind[] = [SyntaxKind.PrivateKeyword, SyntaxKind.ProtectedKeyword]
  const all = (node.members ?? []).filter(
    ({ name, kind, modifiers }) =>
      (name !== undefined || kind === SyntaxKind.Constructor) &&
      !name?.getText().startsWith('#') &&
      !modifiers?.some((modifier) => hidden.includes(modifier.kind)),
  )
  return all.map((member) => {
    const start = member.getStart()
    const end = member.body?.pos ?? member.type?.end ?? start + member.getText().length
    return {
      name: member.name?.getText() ?? 'constructor',
      signature: source.text
        .slice(start, end)
        .replace(/^(?:static )?(?:override )?async /, (words) => words.replace('async ', ''))
        .replace(/[\s;,]+$/, ''),
      doc: parseDocComment(member.jsDoc?.at(-1)?.getText() ?? ''),
    }
  })
}

/** What a class has from those that it extends and does not say itself. */
function inheritedMembers(node: Declaration, project: Project): ApiMember[] {
  if (node.kind !== SyntaxKind.ClassDeclaration) return []
  const clause = node.heritageClauses?.find(({ token }) => token === SyntaxKind.ExtendsKeyword)
  const own = new Set(['constructor', ...membersOf(node).map(({ name }) => name)])
  return (clause?.types ?? []).flatMap(({ expression }) => {
    const named = project.checker.getSymbolAtLocation(expression)
    const symbol =
      named && named.flags & SymbolFlags.Alias ? project.checker.getAliasedSymbol(named) : named
    // Classes of the language itself, such as Error, are known to everybody.
    const base = symbol?.declarations[0]?.resolve(project) as Declaration | undefined
    if (base?.getSourceFile().fileName.includes('/packages/') !== true) return []
    const members = [...membersOf(base), ...inheritedMembers(base, project)]
    return members.filter(({ name }) => !own.has(name))
  })
}

function namespaceMembers(symbol: TsSymbol, project: Project): ApiMember[] {
  return project.checker.getExportsOfModule(symbol).map((exported) => {
    const { name, signatures, doc } = readExport(exported, project)
    return { name, signature: signatures.join('\n'), doc }
  })
}

/** Where the files of an entry are: `packages/protocol/src`. */
export function sourceFolder({ file }: ApiEntry): string {
  return `${dirname(file).split('/').slice(0, 2).join('/')}/src`
}
