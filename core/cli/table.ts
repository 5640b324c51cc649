/** Text as it appears in a cell: nothing for what is not there, JSON for what is not plain. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return '-'
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return value.map(cell).join(', ') || '-'
  // Control characters of a device name or payload must neither reach a terminal nor end a row.
  return (typeof value === 'object' ? JSON.stringify(value) : String(value)).replace(/\p{Cc}/gu, '·')
}

/** Aligned columns with a header, for people. The last column is not padded. */
export function table(columns: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const lines = [columns, ...rows.map((row) => row.map(cell))]
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => [...(line[at] ?? '')].length)))
  return lines
    .map((line) =>
      line
        .map((text, at) => text + ' '.repeat(at === line.length - 1 ? 0 : widths[at]! - [...text].length))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
