"""The types in payloads: read from annotations, described, and prepared for encoders and decoders.

    annotation        resolves annotations to types;  type_graph: the types that one holds
    payload_classes   fields and options of classes;  type_names, default_text: types and defaults as source
    type_description  classes as plain data;  json_schema: as JSON Schemas;  text_values: as texts of a URL
    scans, defaults, conversion     the additions that some types need before and after they are decoded
    type_writers      changes values before they are encoded: narrow_floats writes 32 bits
    finite_numbers, wide_integers   numbers that JSON lacks: refused, or read as text

It knows methods as `rpc/definition.py` has them, and no calls.
"""
