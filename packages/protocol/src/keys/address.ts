/** Internet addresses and blocks of them (CIDR), as `from` and `source-address` name them. */

interface Address {
  /** 32 or 128. */
  readonly bits: number
  readonly value: bigint
}

/** True for a well-formed address or block with no bit set outside of its prefix. */
export function isAddressBlock(text: string): boolean {
  return parseBlock(text) !== undefined
}

/** True if `address` is the address `block`, or within the block `ADDRESS/BITS`. */
export function addressMatches(address: string, block: string): boolean {
  const own = parseAddress(address)
  const other = parseBlock(block)
  if (own === undefined || other === undefined || own.bits !== other.bits) return false
  const shift = BigInt(own.bits - other.prefix)
  return own.value >> shift === other.value >> shift
}

function parseBlock(text: string): (Address & { prefix: number }) | undefined {
  const [addressText = '', prefixText, ...rest] = text.split('/')
  const address = parseAddress(addressText)
  if (address === undefined || rest.length > 0) return undefined
  if (prefixText === undefined) return { ...address, prefix: address.bits }
  if (!/^\d{1,3}$/.test(prefixText)) return undefined
  const prefix = Number(prefixText)
  if (prefix > address.bits) return undefined
  const outside = address.value & ((1n << BigInt(address.bits - prefix)) - 1n)
  // 10.0.0.1/8 is a typing error whose meaning nobody should guess.
  return outside === 0n ? { ...address, prefix } : undefined
}

/** An IPv4 address within IPv6 (::ffff:10.0.0.1) is taken for the IPv4 address it is. */
function parseAddress(text: string): Address | undefined {
  const bare = text.replace(/%.*$/, '').toLowerCase()
  if (!bare.includes(':')) return parseV4(bare)
  const mapped = /^::ffff:([\d.]+)$/.exec(bare)?.[1]
  return mapped === undefined ? parseV6(bare) : parseV4(mapped)
}

function parseV4(text: string): Address | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  let value = 0n
  for (const digits of match.slice(1)) {
    if (Number(digits) > 255 || (digits.length > 1 && digits.startsWith('0'))) return undefined
    value = (value << 8n) | BigInt(digits)
  }
  return { bits: 32, value }
}

function parseV6(text: string): Address | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const zeros = 8 - head.length - tail.length
  if (halves.length === 1 ? zeros !== 0 : zeros < 1) return undefined
  const groups = [...head, ...new Array<string>(zeros).fill('0'), ...tail]
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/.test(group))) return undefined
  const digits = groups.map((group) => group.padStart(4, '0')).join('')
  return { bits: 128, value: BigInt(`0x${digits}`) }
}
