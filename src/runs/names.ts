// Names for runs that were given none: two words that can be said aloud, and a number.

const FIRST =
  'amber bold brave bright brisk calm clear cold coral cosmic crisp deep dusky eager early fair fleet gentle glad golden grand hidden ivory jolly keen kind late light lively long lucid lunar mellow merry mild misty noble north pale patient plain proud quick quiet rapid royal sandy sharp silent silver smooth snowy solar still stormy sunny swift tall true vivid warm wide wild wise'.split(
    ' ',
  );
const SECOND =
  'atoll bay beach breeze bridge brook canal cape channel cliff cove crest current delta dune eddy estuary ferry fjord flow foam ford gulf harbor haven inlet island jetty lagoon lake lantern marsh mist moon oasis ocean pearl pier pond port quay rain reef ridge river sail sand sea shoal shore sound spray spring strait stream surf swell tide vessel wave wharf wind'.split(
    ' ',
  );

export function inventName(): string {
  const pick = (words: string[]) => words[Math.floor(Math.random() * words.length)];
  return `${pick(FIRST)}-${pick(SECOND)}-${1 + Math.floor(Math.random() * 999)}`;
}
