# Of what `kubectl explain` says: kind, fields, types and values, without the words of the documentation.
/^ENUM:/ { in_values = 1 }
/^DESCRIPTION:/ { in_values = 0; in_words = 1; next }
/^FIELDS:/ { in_words = 0 }
NF && !in_words && (in_values || !/^    / || /\t</)
