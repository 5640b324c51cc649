/** An exact decimal number: `digits / 10^places`. Scaling in binary floating point makes 0.29 / 0.01 into 28.999…. */
export interface Decimal {
  readonly digits: bigint
  readonly places: number
}

const FORM = /^([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,4}))?$/

/** The number as people would write it, or undefined where the text is no finite decimal number. */
export function parseDecimal(value: number | bigint | string): Decimal | undefined {
  const found = FORM.exec(String(value))
  if (found === null) return undefined
  const [, sign, whole, fraction = '', exponent = '0'] = found
  const digits = BigInt(`${whole}${fraction}`) * (sign === '-' ? -1n : 1n)
  const places = fraction.length - Number(exponent)
  return places >= 0 ? { digits, places } : { digits: digits * 10n ** BigInt(-places), places: 0 }
}

/** `digits` of `value` when written with `places`, which must be at least its own. */
export function digitsAt(value: Decimal, places: number): bigint {
  return value.digits * 10n ** BigInt(places - value.places)
}

/** Integer division to the nearest, halves away from zero. */
export function divideRounded(dividend: bigint, divisor: bigint): bigint {
  const negative = dividend < 0n !== divisor < 0n
  const a = dividend < 0n ? -dividend : dividend
  const b = divisor < 0n ? -divisor : divisor
  const quotient = (2n * a + b) / (2n * b)
  return negative ? -quotient : quotient
}

/** As a decimal text without an exponent and without trailing zeros. */
export function formatDecimal({ digits, places }: Decimal): string {
  if (places === 0) return digits.toString()
  const text = (digits < 0n ? -digits : digits).toString().padStart(places + 1, '0')
  const fraction = text.slice(-places).replace(/0+$/, '')
  const whole = `${digits < 0n ? '-' : ''}${text.slice(0, -places)}`
  return fraction === '' ? whole : `${whole}.${fraction}`
}
