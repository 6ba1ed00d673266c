"""The types in payloads: resolved from annotations, described, and prepared for encoders and decoders.

    annotation        resolves annotations to types;  type_graph: the types inside a type
    payload_classes   fields and options of classes;  type_names, default_text: types and defaults as source
    type_description  classes as plain data;  json_schema: JSON Schemas;  text_values: values as text in a URL
    scans, defaults, conversion     additional steps before and after decoding, which some types need
    type_writers      changes values before they are encoded: narrow_floats writes 32 bits
    finite_numbers, wide_integers   numbers that JSON cannot express: refused, or accepted as text

It may use `rpc/definition.py`, but no code about calls.
"""
