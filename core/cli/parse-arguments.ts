import { InvalidArgumentError } from 'commander'

/** Parser of a flag whose value is an integer in a range. */
export const integerArgument =
  (min: number, max: number) =>
  (text: string): number => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (number >= min && number <= max) return number
    throw new InvalidArgumentError(`Want an integer from ${min} to ${max}.`)
  }

export function qosArgument(text: string): 0 | 1 | 2 {
  return integerArgument(0, 2)(text) as 0 | 1 | 2
}

/** `42`, `21.5`, `true`, `"quoted"` as JSON reads them; anything else is the text itself. */
export function valueArgument(text: string): number | boolean | string | null {
  try {
    const value: unknown = JSON.parse(text)
    if (value === null || ['number', 'boolean', 'string'].includes(typeof value)) {
      return value as number | boolean | string | null
    }
  } catch {
    // No JSON: a text without quotes, such as the name of an enumeration value.
  }
  return text
}
