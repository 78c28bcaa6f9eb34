"""Chat templates rendered by transformers itself: the words that Pleach's own renderer must give, byte for byte.

    python templates.py tests/golden/templates.json

Pinned: transformers 5.23.0, Jinja2 3.1.6 (PyPI; no model, no network). The rendering goes through transformers' own
`render_jinja_template`, so that its environment is the reference and not our reading of it.

The templates are the program's own and ten written for this test, after the shapes of the public ones: ChatML, Llama 2 (system inside the
first turn, BOS at each exchange), Llama 3 (headers, date, tools), Mistral (strict alternation, tools before the last
question), Gemma (other role names, no system), Qwen (tools, thinking taken out of old turns), Zephyr, Phi (EOS at the
end of every conversation), Command (documents, macros), DeepSeek (thinking, calls as tokens of their own). Together
they use what is hard to get right: both kinds of trimming, namespaces, macros, loop controls, slices, tests, filters,
Python's methods on strings and objects, Python's spelling of values, JSON with and without indentation, generation
blocks, raise_exception, strftime_now.

templates.json: {"date": seconds, "specials": {...}, "templates": {name: text}, "conversations": {name: {...}},
"cases": [{"template", "conversation", "prompt": bool, "text": rendered or null, "error": what was raised or null,
"generation": [[from, to] in characters] or null}],
"variables": {...}, "expressions": [{"source", "text": rendered or null, "error": what was raised or null}]}
"""

import argparse
import datetime
import json
from importlib.metadata import version
from pathlib import Path

from transformers.utils import chat_template_utils

PINNED = {"transformers": "5.23.0", "jinja2": "3.1.6"}
DATE = 1767225600 + 45 * 86400 + 34567  # 2026-02-15 09:36:07 UTC
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}

TEMPLATES = {}

TEMPLATES["chatml"] = """{% for message in messages %}
    {% if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}
    {% endif %}
    {{- '<|im_start|>' + message['role'] + '\n' }}
    {% if message['role'] == 'assistant' %}
        {% generation %}
        {{- (message['content'] or '') + '<|im_end|>' }}
        {% endgeneration %}
    {% else %}
        {{- (message['content'] or '') + '<|im_end|>' }}
    {% endif %}
    {{- '\n' }}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{% endif %}
"""

TEMPLATES["llama-2"] = """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate user/assistant/user/assistant') }}{% endif %}{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

TEMPLATES["llama-3"] = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("One call a turn, please") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

TEMPLATES["mistral"] = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate user/assistant") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val | tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function | tojson %}
            {{- out[:-1] }}
            {%- if tool_call.id is defined %}
                {{- ', "id": "' + tool_call.id + '"}' }}
            {%- else %}
                {{- '}' }}
            {%- endif %}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool are known, not " + message["role"] + "!") }}
    {%- endif %}
{%- endfor %}
"""

TEMPLATES["gemma"] = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if message['role'] not in ['user', 'assistant'] %}{% continue %}{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '
' + (message['content'] or '') | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}"""

TEMPLATES["qwen"] = """{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' + content + '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""

TEMPLATES["zephyr"] = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
' }}{% generation %}{{ message['content'] ~ eos_token }}{% endgeneration %}

{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

TEMPLATES["phi"] = """{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'user' %}{{'<|user|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>
' + message.get('content', '') | default('', true) + '<|end|>
'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %}"""

TEMPLATES["command"] = """{%- macro document_turn(documents) -%}
## Documents
{% for doc in documents -%}
<doc index="{{ loop.index0 }}" last={{ loop.last }}>
title: {{ doc['title'] | default('untitled', true) | title }}
{% for key, value in doc | dictsort -%}
{%- if key not in ['title', 'text'] %}
{{ key }} = {{ value }}
{% endif -%}
{%- endfor %}
{{ doc['text'] | replace('\n', ' ') | indent(2) }}
</doc>
{% endfor %}
{%- endmacro %}
{%- macro names(tools) -%}
{%- for tool in tools -%}
{{ tool.function.name | upper }}{{ ', ' if not loop.last }}
{%- endfor -%}
{%- endmacro %}
{{ bos_token }}
{%- if documents %}
{{- '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' }}{{ document_turn(documents) }}{{ '<|END_OF_TURN_TOKEN|>' }}
{%- endif %}
{%- if tools %}
{{- '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' ~ names(tools) ~ ' (' ~ (tools | length) ~ ')' }}
{{ tools | map(attribute='function') | map(attribute='name') | join(' + ') }}
{{ tools | tojson(separators=(',', ':'), sort_keys=true) }}
{{- '<|END_OF_TURN_TOKEN|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' and message.content == 'stop' %}
        {%- break %}
    {%- endif %}
    {%- set token = {'user': 'USER', 'assistant': 'CHATBOT', 'system': 'SYSTEM'}.get(message.role, 'OTHER') %}
    {{- '<|START_OF_TURN_TOKEN|><|%s_TOKEN|>' | format(token) }}
    {{- message.content | trim if message.content else 'None: ' ~ loop.index }}
    {%- for call in message.tool_calls or [] %}
        {%- set given = call.function.arguments %}
        {{- '\nAction: ' ~ call.function.name ~ ' ' }}{{ given }}
        {%- for name, value in given.items() %}
            {{- '\n- ' ~ name ~ ': ' }}{{ value }}
        {%- endfor %}
    {%- endfor %}
    {{- '<|END_OF_TURN_TOKEN|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}
{%- endif %}
"""

TEMPLATES["deepseek"] = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{ '<|User|>' + message['content'] }}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls'] %}{%- if loop.first %}{{ '<|Assistant|><|tool▁calls▁begin|><|tool▁call▁begin|>' + tool['type'] + '<|tool▁sep|>' + tool['function']['name'] + '\\n```json\\n' + tool['function']['arguments'] | tojson + '\\n```<|tool▁call▁end|>' }}{%- else %}{{ '\\n<|tool▁call▁begin|>' + tool['type'] + '<|tool▁sep|>' + tool['function']['name'] + '\\n```json\\n' + tool['function']['arguments'] | tojson(ensure_ascii=true) + '\\n```<|tool▁call▁end|>' }}{%- endif %}{%- endfor %}{{ '<|tool▁calls▁end|><|end▁of▁sentence|>' }}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none and not message['tool_calls'] %}{%- if ns.is_tool %}{{ '<|tool▁outputs▁end|>' + message['content'] + '<|end▁of▁sentence|>' }}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<|Assistant|>' + content + '<|end▁of▁sentence|>' }}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{ '<|tool▁outputs▁begin|><|tool▁output▁begin|>' + message['content'] + '<|tool▁output▁end|>' }}{%- set ns.is_output_first = false %}{%- else %}{{ '\\n<|tool▁output▁begin|>' + message['content'] + '<|tool▁output▁end|>' }}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{ '<|tool▁outputs▁end|>' }}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{ '<|Assistant|><think>\\n' }}{% endif %}"""

# The program's own, which exported models carry.
TEMPLATES["built-in"] = (Path(__file__).parents[2] / "stages/data/template/chatml.jinja").read_text(encoding="utf-8")

# Small things that templates do, each a template of its own over the variables below.
EXPRESSIONS = r"""
{{ yes }}|{{ none }}|{{ half }}|{{ big }}|{{ missing }}|{{ list }}|{{ map }}
{{ yes ~ '' }}|{{ none ~ '' }}|{{ half ~ '' }}|{{ list ~ '' }}
{{ yes | string }}|{{ none | string }}|{{ list | string }}|{{ 3 | string }}
{{ [yes, none, 'x'] | join('-') }}|{{ ['a', 1, 2.0] | join }}
{{ 5 is sequence }}{{ text is string }}{{ text is sequence }}{{ text is iterable }}{{ text is mapping }}
{{ list is string }}{{ list is sequence }}{{ list is iterable }}{{ list is mapping }}
{{ map is string }}{{ map is sequence }}{{ map is iterable }}{{ map is mapping }}
{{ none is none }}{{ none is defined }}{{ missing is defined }}{{ missing is none }}{{ yes is true }}{{ yes is boolean }}{{ 1 is number }}{{ 1 is integer }}{{ half is float }}
{{ 'b' in text }}{{ 'name' in map }}{{ 2 in list }}{{ 'q' not in text }}{{ none in list }}
{{ text[0] }}{{ text[-1] }}{{ text[1:3] }}{{ text[::-1] }}{{ text[:-1] }}
{{ list[0] }}{{ list[-1] }}{{ list[1:] }}{{ list[::-1] }}{{ (list[5:] | length) }}
{{ text.upper() }}{{ text.title() }}{{ text.capitalize() }}{{ 'A b'.lower() }}
{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\n a\t'.strip() }}
{{ 'a,b,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ ' a  b '.split() }}|{{ 'a\nb'.splitlines() }}
{{ 'a-b-c'.rsplit('-', 1) }}|{{ 'a-b-c'.rsplit('-') }}|{{ ' a b '.rsplit() }}|{{ 'abc'.removeprefix('a') }}|{{ 'abc'.removesuffix('b') }}
{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'abcabc'.find('c') }}{{ 'abcabc'.rfind('c') }}{{ 'aXbX'.replace('X', 'yy', 1) }}{{ 'abab'.count('ab') }}
{{ '%s is %d' | format('x', 3) }}|{{ '{} {}'.format('a', 1) }}
{{ map.name }}|{{ map['name'] }}|{{ map.get('name') }}|{{ map.get('zzz', 'd') }}|{{ map.get('zzz') }}|{{ map.zzz }}
{% for k, v in map.items() %}{{ k }}={{ v }};{% endfor %}|{{ map.keys() | list }}|{{ map.values() | list }}
{% for k in map %}{{ k }};{% endfor %}|{{ map | length }}|{{ map | list }}
{% for k, v in map | dictsort %}{{ k }}={{ v }};{% endfor %}|{% for k, v in map | items %}{{ k }};{% endfor %}
{{ list | first }}{{ list | last }}{{ list | length }}{{ list | max }}{{ list | min }}{{ list | sum }}{{ list | reverse | list }}
{{ people | map(attribute='name') | join(', ') }}|{{ people | selectattr('age') | list | length }}|{{ people | selectattr('age', 'gt', 3) | map(attribute='name') | list }}|{{ people | rejectattr('name', 'equalto', 'Bo') | list | length }}
{{ people | groupby('age') | length }}|{{ people | sort(attribute='name') | map(attribute='name') | list }}|{{ list | sort(reverse=true) }}|{{ [3, 3, 1] | unique | list }}
{{ text | trim }}|{{ text | upper }}|{{ text | title }}|{{ text | capitalize }}|{{ text | replace('b', 'BB') }}|{{ text | length }}|{{ text | list }}
{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\nb' | indent }}
{{ missing | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none | default('d', boolean=true) }}|{{ missing | d }}
{{ '3' | int + 1 }}|{{ 'x' | int }}|{{ '2.5' | float }}|{{ 2.7 | int }}|{{ 2.5 | round }}|{{ 2.25 | round(1) }}|{{ -3 | abs }}|{{ none | int }}|{{ 'x' | int(7) }}|{{ 'x' | float(default=1.5) }}|{{ '2.9' | int }}|{{ yes | int }}|{{ ' 4 ' | int }}
{{ 7 // 2 }}|{{ 7 / 2 }}|{{ 6 / 2 }}|{{ 7 % 3 }}|{{ -7 // 2 }}|{{ 2 ** 5 }}|{{ 1 + 2.0 }}|{{ 'a' * 3 }}|{{ [1] + [2] }}
{{ 1 == 1.0 }}{{ 'a' == 'a' }}{{ [1] == [1] }}{{ {'a': 1} == {'a': 1} }}{{ none == false }}{{ true == 1 }}
{{ 'a' if yes else 'b' }}|{{ 'a' if missing }}|{{ missing or 'x' }}|{{ '' or none or 'y' }}|{{ yes and 'z' }}|{{ not text }}
{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for x in list if x > 1 %}{{ loop.index }}:{{ x }};{% else %}none{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}
{% for x in list %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{{ loop.cycle('a', 'b') }}{% endfor %}
{% set ns = namespace(a=1, b='x') %}{% for x in list %}{% set ns.a = ns.a + x %}{% set c = x %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ c }}
{% set x %}block {{ text }}{% endset %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% macro m(a, b='d', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m('x') }}{{ m('x', c=1) }}{{ m(b=2, a=1) }}
{% filter upper %}abc {{ text }}{% endfilter %}|{% with q = 5 %}{{ q }}{% endwith %}|{{ q }}
{{ map | tojson }}|{{ list | tojson }}|{{ none | tojson }}|{{ yes | tojson }}|{{ half | tojson }}|{{ 'é<&\'"' | tojson }}
{{ map | tojson(indent=2) }}|{{ [] | tojson(indent=2) }}|{{ {} | tojson }}|{{ [[], {}] | tojson(indent=1) }}
{{ range(3) | list }}|{{ range(1, 7, 2) | list }}|{{ dict(a=1, b='x') }}|{{ {'a': 1, 2: 'b'} }}|{{ (1, 2) }}|{{ ('a',) }}
{{ 'a' 'b' }}|{{ "q" ~ 'r' ~ 1 }}|{{ text ~ missing ~ 'x' }}|{{ 1 ~ 2 }}|{{ '<b>' }}|{{ '<b>' | e }}|{{ '<b>' | safe }}
{{ missing.a }}
{{ text + 1 }}
{{ text + none }}
{{ text + missing }}
{{ list.append(4) }}{{ list }}
{{ map.update({'x': 1}) }}{{ map }}
{{ raise_exception('stop here') }}
{{ undefined_function() }}
{%- for m in people -%}  {{ m.name }}  {%- endfor -%}  end
  {% if yes %}  in  {% endif %}  out
{{ text.__class__ }}|{{ ().__class__ }}
{{ text | wordcount }}|{{ text | center(9) }}|{{ 'a b c' | truncate(4) }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }}|{{ [1, 2, 3] | slice(2) | list }}|{{ ['b', 'A'] | sort }}|{{ ['b', 'A'] | sort(case_sensitive=true) }}
{{ list | map('string') | join }}|{{ ['a', 'b'] | map('upper') | list }}|{{ list | select('gt', 1) | list }}|{{ list | reject('odd') | list }}
{{ 1_000 }}|{{ 1e3 }}|{{ 0x1F }}|{{ 1.5e-7 }}|{{ 123456789012345678 }}|{{ 0.1 + 0.2 }}|{{ 1e22 }}|{{ 5 / 1 }}
""".strip("\n").split("\n")

VARIABLES = {
    "yes": True, "none": None, "half": 0.5, "big": 1e16, "text": "abcb", "list": [1, 2, 3],
    "map": {"name": "Ann", "b": [1, "it's"], "n": None}, "people": [{"name": "Bo", "age": 5}, {"name": "Al", "age": 0}],
}


def say(role: str, content, **more) -> dict:
    return {"role": role, "content": content, **more}


def call(name: str, arguments: dict, **more) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a town, with \"quotes\" & <marks>",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "Stadt, ville, 都市"},
                "days": {"type": "integer", "default": 3},
            },
            "required": ["town"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {}, "return": {"type": "string"}}}
ODD = {"big": 1e16, "small": 0.00001, "half": 0.5, "one": 1.0, "yes": True, "no": False, "none": None, "list": [1, "a'b", "c\"d", []], "map": {"ä\n": {}}, "n": -7, "tab": "\t\u0001\u007f/"}

CONVERSATIONS = {
    "short": {"messages": [say("user", "Hi"), say("assistant", "Hello!")]},
    "system": {"messages": [say("system", "Be brief."), say("user", "Why?"), say("assistant", "Because."), say("user", "Thanks")]},
    "long": {
        "messages": [say("user", "One"), say("assistant", "Two"), say("user", "Three"), say("assistant", "Four"), say("user", "Five"), say("assistant", "Six")]
    },
    "blanks": {"messages": [say("user", "  padded \n"), say("assistant", "\n\n also padded\t "), say("user", " \n "), say("assistant", "")]},
    "unicode": {"messages": [say("system", "Antworte höflich: 🙂"), say("user", "Été – 東京?"), say("assistant", "Ça va « bien » \u00a0\u2028ok")]},
    "marks": {"messages": [say("user", "{{ 1 + 1 }} {% if x %} {# no #} <b> & 'q' \"r\" \\n"), say("assistant", "<|im_end|> stays [INST] text </s>")]},
    "tools": {
        "messages": [
            say("system", "Use tools."),
            say("user", "Weather in Köln?"),
            say("assistant", None, tool_calls=[call("get_weather", {"town": "Köln", "days": 2}, id="call00001")]),
            say("tool", "{\"sky\": \"grau\"}", name="get_weather", tool_call_id="call00001"),
            say("assistant", "Grey."),
        ],
        "tools": [WEATHER, CLOCK],
    },
    "calls": {
        "messages": [
            say("user", "Both."),
            say("assistant", "Wait.", tool_calls=[call("clock", {}), call("get_weather", ODD)]),
            say("tool", "12:00"),
            say("tool", "sun"),
            say("assistant", "Noon, sun."),
            say("user", "And now?"),
        ],
        "tools": [CLOCK, WEATHER],
    },
    "thinking": {
        "messages": [
            say("user", "1 + 1?"),
            say("assistant", "<think>\nEasy.\n</think>\n\n2"),
            say("user", "2 + 2?"),
            say("assistant", "4", reasoning_content="Also easy."),
        ]
    },
    "documents": {
        "messages": [say("user", "Who?"), say("assistant", "Ada.")],
        "documents": [
            {"title": "the first engine", "text": "Ada wrote\nthe program.", "year": 1843, "rare": True, "score": 0.1},
            {"title": "", "text": "Nothing.", "tags": ["a", "b's"], "none": None},
        ],
    },
    "stop": {"messages": [say("user", "Go"), say("assistant", "Going"), say("tool", "stop"), say("user", "Gone?")]},
    "no thinking": {"messages": [say("user", "Quick!")], "variables": {"enable_thinking": False, "date_string": "1 Jan 2020"}},
    "broken": {"messages": [say("user", "a"), say("user", "b"), say("critic", "c")]},
}


def expression(source: str) -> dict:
    out = {"source": source, "text": None, "error": None}
    try:
        text, _ = chat_template_utils.render_jinja_template(
            [[say("user", "a")]], chat_template=source, **json.loads(json.dumps(VARIABLES))
        )
        out["text"] = text[0]
    except Exception as error:
        out["error"] = str(error)
    return out


class Now(datetime.datetime):
    """The moment that strftime_now tells."""

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(DATE, datetime.timezone.utc)


def case(template: str, conversation: str, prompt: bool) -> dict:
    source, given = TEMPLATES[template], CONVERSATIONS[conversation]
    marked = "{% generation %}" in source and not prompt
    out = {"template": template, "conversation": conversation, "prompt": prompt, "text": None, "error": None, "generation": None}
    try:
        text, spans = chat_template_utils.render_jinja_template(
            [given["messages"]], tools=given.get("tools"), documents=given.get("documents"), chat_template=source,
            add_generation_prompt=prompt, return_assistant_tokens_mask=marked, **SPECIALS, **given.get("variables", {}),
        )
        out["text"] = text[0]
        if marked:
            out["generation"] = [list(span) for span in spans[0]]
    except Exception as error:
        out["error"] = str(error)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    for name, wanted in PINNED.items():
        assert version(name) == wanted, f"{name} {version(name)} is here, {wanted} is pinned"
    chat_template_utils.datetime = Now
    cases = [case(t, c, p) for t in TEMPLATES for c in CONVERSATIONS for p in (False, True)]
    golden = {
        "date": DATE, "specials": SPECIALS, "templates": TEMPLATES, "conversations": CONVERSATIONS, "cases": cases,
        "variables": VARIABLES, "expressions": [expression(source) for source in EXPRESSIONS],
    }
    lines = json.dumps(golden, ensure_ascii=False, indent=0).replace("\u2028", "\\u2028")
    arguments.file.write_text(lines + "\n", encoding="utf-8")
    print(len(cases), "cases,", sum(one["text"] is None for one in cases), "raised")


if __name__ == "__main__":
    main()
