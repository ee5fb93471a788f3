"""Parquet files of each form, as pyarrow writes them; beside this file.

usage: pip install pyarrow==26.0.1
       python make.py
"""
import os
import pyarrow as pa, pyarrow.parquet as pq

os.chdir(os.path.dirname(os.path.abspath(__file__)))
write = lambda name, rows, **how: pq.write_table(pa.Table.from_pylist(rows, schema=how.pop("schema", None)), f"{name}.parquet", **how)

talk = [{"role": "user", "content": "Hi é"}, {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Ciao"}]
write("chat", [{"messages": talk, "id": 1}, {"messages": talk[:2], "id": 2}], compression="zstd")
write("alpaca", [{"instruction": "a", "input": None, "output": "b"}, {"instruction": "c", "input": "x", "output": "d"}], compression="snappy")
shared = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
write("sharegpt", [{"conversations": shared}], compression="gzip")
# Wide offsets, plain values, pages of the second version; a conversation without an answer.
turn = pa.struct([("from", pa.large_string()), ("value", pa.large_string())])
write("large", [{"conversations": shared}, {"conversations": shared[:1]}], schema=pa.schema([("conversations", pa.large_list(turn))]),
      compression="none", use_dictionary=False, data_page_version="2.0")
write("lz4", [{"instruction": "a", "output": "b"}], compression="lz4")
