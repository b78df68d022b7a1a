// The page's scripts run in browsers as they are; their tests run in Node.

import js from '@eslint/js';
import globals from 'globals';

export default [
  js.configs.recommended,
  {
    rules: {
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-shadow': 'error',
      'no-implicit-coercion': 'error',
      'no-unused-expressions': 'error',
      'object-shorthand': 'error',
    },
  },
  { files: ['ui/static/**/*.mjs'], languageOptions: { globals: globals.browser } },
  { files: ['tests/js/**/*.mjs'], languageOptions: { globals: globals.node } },
];
