// A QR code as an SVG path: the dark modules of each row, in runs.

export function darkPath(rows: readonly (readonly boolean[])[]): string {
  let path = '';
  for (const [y, row] of rows.entries())
    for (let x = 0; x < row.length; x++) {
      const start = x;
      while (row[x]) x++;
      if (x > start) path += `M${start} ${y}h${x - start}v1h${start - x}z`;
    }
  return path;
}

/** What people type who cannot take a picture, in groups of four. */
export function secretOf(totpUri: string): string {
  const secret = URL.parse(totpUri)?.searchParams.get('secret') ?? '';
  return secret.replaceAll(/(.{4})(?=.)/g, '$1 ');
}
