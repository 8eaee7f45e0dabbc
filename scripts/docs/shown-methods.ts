// Which methods of the public interface a sample that is run calls, as the compiler sees it.

import { join, relative } from 'node:path'
import { type Node, SyntaxKind } from 'typescript/unstable/ast'
import { API, type Project, SymbolFlags, type Symbol as TsSymbol } from 'typescript/unstable/sync'
import { root } from '../bundle.mjs'
import { entryFiles } from './api.ts'
import type { SampleProgram } from './sample-programs.ts'

/** A method of an exported class or interface. */
interface PublicMethod {
  /** `protocol: Client.exec`. */
  readonly name: string
  /** Path from the root, and line. */
  readonly place: string
  readonly shown: boolean
}

/**
 * Not for users to call: shapes of what a runtime or the user hands in, what algorithms and methods
 * of authentication are made of (the machine calls them), and seams of transfers.
 */
const notCalled: readonly string[] = [
  ...['DenoConn', 'NodeFs', 'NodeReadable', 'NodeServer', 'NodeSocket', 'NodeWritable'],
  ...['AttachInput', 'AttachOutput', 'ScpClient', 'SftpSource', 'Walkable', 'WebSocketLike'],
  ...['AuthMethod', 'AuthRun', 'CipherSpec', 'KexInitiator', 'KexSpec', 'MacSpec'],
  ...['AesGcm', 'PacketOpener', 'PacketSealer', 'SignatureSpec', 'StreamCipher'],
]

/** Every method that no sample calls. */
export function unshownMethods(
  programs: readonly SampleProgram[],
  folder: string,
): readonly string[] {
  return publicMethods(programs, folder)
    .filter(({ shown }) => !shown)
    .map(({ name, place }) => `${place}: no sample calls ${name}`)
}

/** A node, as far as its place goes. */
interface Placed {
  getStart(): number
  getSourceFile(): { readonly text: string; readonly fileName: string }
}

/** What is used of the compiler's nodes; their classes have no such properties in common. */
interface Declaration extends Placed {
  readonly kind: SyntaxKind
  readonly name?: { getText(): string }
  readonly members?: readonly Declaration[]
  readonly modifiers?: readonly { readonly kind: SyntaxKind }[]
  readonly jsDoc?: readonly { getText(): string }[]
}

/** All of them. `folder` is where the programs are, with a tsconfig.json. */
function publicMethods(programs: readonly SampleProgram[], folder: string): PublicMethod[] {
  const api = new API({ cwd: root })
  try {
    const config = join(folder, 'tsconfig.json')
    const project = api.updateSnapshot({ openProjects: [config] }).getProject(config)
    if (project === undefined) throw new Error('the samples could not be read')
    const used = new Set<string>()
    for (const { path } of [...programs, { path: join(root, 'docs/prelude.ts') }]) {
      for (const place of placesUsed(path, project)) used.add(place)
    }
    const found = new Map<string, PublicMethod>()
    for (const { file } of entryFiles()) {
      for (const { owner, member } of methodsOf(join(root, file), project)) {
        const place = placeOf(member)
        const name = `${file.split('/')[1]}: ${owner}.${member.name?.getText()}`
        // Overloads, and what is static and not, have one name.
        const shown = used.has(place) || found.get(name)?.shown === true
        found.set(name, { name, place: relative(root, place), shown })
      }
    }
    return [...found.values()]
  } finally {
    api.close()
  }
}

function placeOf(node: Placed): string {
  const { text, fileName } = node.getSourceFile()
  return `${fileName}:${text.slice(0, node.getStart()).split('\n').length}`
}

/** Where all that a file names behind a dot, or takes out of an object, is declared. */
function placesUsed(path: string, project: Project): string[] {
  const source = project.program.getSourceFile(path)
  if (source === undefined) throw new Error(`${path} could not be read`)
  const names: Node[] = []
  const visit = (node: Node): void => {
    const { name, propertyName } = node as { name?: Node; propertyName?: Node }
    if (node.kind === SyntaxKind.PropertyAccessExpression && name) names.push(name)
    if (node.kind === SyntaxKind.BindingElement) {
      const taken = propertyName ?? name
      if (taken) names.push(taken)
    }
    node.forEachChild(visit)
  }
  visit(source)
  if (names.length === 0) return []
  return project.checker.getSymbolAtLocation(names).flatMap((symbol) =>
    (symbol?.declarations ?? []).flatMap((handle) => {
      if (!handle.path.includes('/packages/')) return []
      const node = handle.resolve(project)
      return node === undefined ? [] : [placeOf(node)]
    }),
  )
}

function methodsOf(file: string, project: Project): { owner: string; member: Declaration }[] {
  const source = project.program.getSourceFile(file)
  const module = source && project.checker.getSymbolAtLocation(source)
  if (module === undefined) return []
  const { checker } = project
  const real = (symbol: TsSymbol): TsSymbol =>
    symbol.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  return checker.getExportsOfModule(module).flatMap((exported) =>
    real(exported).declarations.flatMap((handle) => {
      const { ClassDeclaration, InterfaceDeclaration } = SyntaxKind
      if (handle.kind !== ClassDeclaration && handle.kind !== InterfaceDeclaration) return []
      const node = handle.resolve(project) as unknown as Declaration | undefined
      if (notCalled.includes(exported.name)) return []
      return (node?.members ?? []).filter(isMethod).map((member) => ({
        owner: exported.name,
        member,
      }))
    }),
  )
}

function isMethod({ kind, name, modifiers, jsDoc }: Declaration): boolean {
  const { MethodDeclaration, MethodSignature, PrivateKeyword, ProtectedKeyword } = SyntaxKind
  return (
    (kind === MethodDeclaration || kind === MethodSignature) &&
    /^\w+$/.test(name?.getText() ?? '') &&
    !modifiers?.some((each) => each.kind === PrivateKeyword || each.kind === ProtectedKeyword) &&
    !/^\/\*\*[\s*]*Internal/.test(jsDoc?.at(-1)?.getText() ?? '')
  )
}
