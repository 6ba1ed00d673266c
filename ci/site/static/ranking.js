// Sphinx finds pages that have every word of a query, so that a question finds none. This ranks pages by the words that they do
// have (BM25, on the index that Sphinx built): rare words count more, those of a heading most, and long pages less. The question
// that a page answers, in the table of the guide, counts as a heading.
"use strict";

if (typeof Search !== "undefined") {
  const SATURATION = 1.2;
  const LENGTH_SHARE = 0.75;
  const HEADING = 3;
  // Words that a query of a name has; in longer ones each word would list every name that it is part of.
  const NAME_WORDS = 2;
  const WHOLE_NAME = 1000;

  const filesOf = (table, word) => [(Object.hasOwn(table, word) && table[word]) ?? []].flat().filter((file) => file !== false);

  const lengths = () => {
    const counts = Search._index.docnames.map(() => 1);
    for (const word of Object.keys(Search._index.terms)) {
      for (const file of filesOf(Search._index.terms, word)) counts[file] += 1;
    }
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    return counts.map((count) => count / mean);
  };

  const known = (table, word) => {
    if (Object.hasOwn(table, word) || word.length < 3) return filesOf(table, word);
    const longer = Object.keys(table).filter((other) => other.startsWith(word));
    return [...new Set(longer.flatMap((other) => filesOf(table, other)))];
  };

  const asked = () => {
    const stemmer = new Stemmer();
    const words = new Map();
    for (const [page, question] of Object.entries(QUESTIONS)) {
      for (const word of splitQuery(question.toLowerCase())) {
        const stem = stemmer.stemWord(word);
        words.set(stem, [...(words.get(stem) ?? []), Search._index.docnames.indexOf(page)]);
      }
    }
    return words;
  };

  Search.performTermsSearch = (words, excluded) => {
    const { terms, titleterms, docnames, filenames, titles } = Search._index;
    const relative = lengths();
    const questions = asked();
    const scores = new Map();
    for (const word of words) {
      const inText = known(terms, word);
      const inHeading = new Set([...known(titleterms, word), ...(questions.get(word) ?? [])]);
      const having = new Set([...inText, ...inHeading]);
      const rarity = Math.log(1 + docnames.length / (having.size || 1));
      for (const file of having) {
        const length = 1 - LENGTH_SHARE + LENGTH_SHARE * relative[file];
        const weight = (SATURATION + 1) / (1 + SATURATION * length);
        const times = inHeading.has(file) ? HEADING : 1;
        scores.set(file, (scores.get(file) ?? 0) + 10 * rarity * weight * times);
      }
    }
    const unwanted = new Set([...excluded].flatMap((word) => known(terms, word)));
    return [...scores]
      // The first page has a line of every other one.
      .filter(([file]) => !unwanted.has(file) && docnames[file] !== "index")
      .map(([file, score]) => [docnames[file], titles[file], "", null, score, filenames[file], SearchResultKind.text]);
  };

  // The page of a name stands before pages that use it.
  const ranked = (result, word) => {
    const [page, name, anchor, text, score, ...rest] = result;
    return [page, name, anchor, text, name.toLowerCase().split(".").at(-1) === word ? score + WHOLE_NAME : score, ...rest];
  };
  const byName = Search.performObjectSearch;
  Search.performObjectSearch = (word, all) =>
    all.size > NAME_WORDS ? [] : byName(word, all).map((result) => ranked(result, word));
}
