// Typed documents for the dashboard, made from the committed schema: `graphql-codegen --config codegen.ts`.
import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: 'schema.graphql',
  documents: ['web/src/lib/*documents.ts'],
  generates: {
    'web/src/lib/generated/': {
      preset: 'client',
      presetConfig: { fragmentMasking: false },
      config: {
        documentMode: 'string',
        importExtension: '.ts',
        useTypeImports: true,
        enumsAsTypes: true,
        defaultScalarType: 'unknown',
        scalars: {
          ID: 'string',
          DateTime: 'string',
          JSON: 'unknown',
          SafeInt: 'number',
          Steps: 'number[]',
          Times: 'number[]',
          Counts: 'number[]',
          Value: "number | 'NaN' | 'Infinity' | '-Infinity'",
          Values: "(number | 'NaN' | 'Infinity' | '-Infinity' | null)[]",
          Metadata: '(Record<string, unknown> | null)[]',
        },
      },
    },
  },
};

export default config;
