"""Go templates in compose files: rendered before they are read, places kept, other braces left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda import compose
from remuda.compose.gotemplate import Template, TemplateError
from remuda.compose.templated import Answers


def shown(text: str, **answers: str) -> str:
    return Template(text).render({"Values": Answers(answers, answers.get), "Stack": {"Name": "shop"}}).text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {{ .Values.X }} b", "a one b"),
        ("{{.Values.nobody}}|{{.Stack.Name}}|{{.Stack.Nobody}}", "|shop|<no value>"),
        ('{{if eq .Values.X "one"}}yes{{else}}no{{end}}', "yes"),
        ('{{if eq .Values.X "two" "one"}}yes{{end}}', "yes"),
        ('{{if ne .Values.X "one"}}a{{else if .Values.Y}}b{{else}}c{{end}}', "b"),
        ('{{ if or (eq .Values.X "a") (and (eq .Values.Y "two") (ne .Values.X "b")) }}in{{end}}', "in"),
        ("{{if not .Values.nobody}}empty{{end}}", "empty"),
        ("a\n  {{- if .Values.X }}\n  b\n  {{- end }}\nc", "a\n  b\nc"),
        ("{{ .Values.X -}}   \n  tail", "onetail"),
        ("{{- /* said to nobody */ -}}\nleft", "left"),
        ('{{$i := "img"}}{{$i}}:{{$i}}', "img:img"),
        ('{{$v := "a"}}{{if .Values.X}}{{$v = "b"}}{{end}}{{$v}}', "b"),
        ("{{range $i, $x := splitList \",\" .Values.L}}{{$i}}={{$x}};{{end}}", "0=p;1=q;"),
        ('{{range splitList "," "a,b"}}{{.}}{{$.Values.X}} {{end}}', "aone bone "),
        ("{{range $i := until (atoi .Values.N)}}{{$i}}{{else}}none{{end}}", "012"),
        ("{{range until 0}}x{{else}}none{{end}}", "none"),
        ("{{with .Values.X}}<{{.}}>{{end}}{{with .Values.nobody}}x{{else}}-{{end}}", "<one>-"),
        ('{{splitPreserveQuotes "--a \\"b c\\" d" | len}}', "3"),
        ('{{ .Values.X | upper | printf "%s-%.1s" "p" }}', "p-O"),
        ('{{ printf "%05d|%v|%q|%t" 42 1.5 "x" true }}', '00042|1.5|"x"|true'),
        ("{{ index .Values \"X\" }}{{ (dict \"k\" \"v\").k }}", "onev"),
        ('{{ default "d" .Values.nobody }}{{ default "d" .Values.X }}', "done"),
        ("{{ add 1 2 3 }} {{ sub 5 2 }} {{ div -7 2 }} {{ mod 7 3 }}", "6 3 -3 1"),
        ('{{"{{"}} {{`raw "text"`}}', '{{ raw "text"'),
        ("{{if (ne .Values.X \"x\") and .Values.nobody}}loose{{end}}", "loose"),
    ],
)  # fmt: skip
def test_it_says_what_go_would_say(template: str, expected: str) -> None:
    assert shown(template, X="one", Y="two", L="p,q", N="3") == expected


@pytest.mark.parametrize(
    ("template", "line", "column", "words"),
    [
        ("a\n{{ if .Values.X }}\n", 2, 4, "{{end}} is missing"),
        ("{{ end }}", 1, 4, "has no beginning"),
        ("x {{ service_name }}", 1, 6, "no function 'service_name'"),
        ("{{ $x }}", 1, 4, "$x is not set"),
        ("{{ .Values.X", 1, 13, "}} is missing"),
        ("{{ .Values.X.Y }}", 1, 4, "nothing called Y"),
        ("\n  {{ eq 1 .Values.X }}", 2, 6, "different kinds"),
        ("{{ until 99999999 }}", 1, 4, "more than 10000"),
        ('{{ repeat 99999999 "ab" }}', 1, 4, "too long"),
        ('{{ template "other" }}', 1, 4, "not supported"),
        ('{{ env "HOME" }}', 1, 4, "no function 'env'"),
        ("{{range until 9999}}{{range until 9999}}.{{end}}{{end}}", 1, 41, "too much"),
        ("{{ atoi 1 2 }}", 1, 4, "cannot be used"),
        ("{{" + "(" * 80 + ")" * 80 + "}}", 1, 53, "nested"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(template: str, line: int, column: int, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        shown(template, X="one")
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


@given(st.text(alphabet="{}-. \n$xXVaules|()\"'`=:,ifendrgw0", max_size=80))
def test_any_text_is_rendered_or_refused_with_a_place(text: str) -> None:
    place = (1, 1)
    try:
        shown(text)
    except TemplateError as error:
        place = (error.line, error.column)
    assert min(place) >= 1


FILE = """\
version: '2'
services:
{{- if eq .Values.WITH_DB "true" }}
  db:
    image: mysql
{{- end }}
  web:
    image: {{ .Values.IMAGE }}
    scael: 3
"""


def test_a_file_is_rendered_with_the_answers_and_problems_keep_the_files_lines() -> None:
    project = compose.load(
        FILE, environment={"WITH_DB": "true", "IMAGE": "nginx"}, names=("docker-compose.yml.tpl", "")
    )
    assert [service.name for service in project.services] == ["db", "web"]
    assert project.services[1].launch_config.image == "nginx"
    wrong = [problem for problem in project.problems if "scael" in problem.message]
    assert (wrong[0].line, wrong[0].file) == (9, "docker-compose.yml.tpl")
    assert set(project.variables) >= {"WITH_DB", "IMAGE"}
    without = compose.load(FILE, environment={"IMAGE": "nginx"})
    assert [service.name for service in without.services] == ["web"]


def test_rancher_compose_is_rendered_too() -> None:
    rancher = "web:\n{{- if .Values.N }}\n  scale: {{.Values.N}}\n{{- end }}\n"
    project = compose.load("web: {image: nginx}\n", rancher, environment={"N": "4"})
    assert project.services[0].scale == 4


@pytest.mark.parametrize("command", ["docker ps --format '{{.Names}}'", "echo {{.Node.Hostname}}"])
def test_braces_that_ask_for_something_else_are_left_alone(command: str) -> None:
    project = compose.load(f'web:\n  image: nginx\n  command: "{command}"\n')
    assert not project.problems
    assert "{{." in " ".join(project.services[0].launch_config.command or [])


def test_a_file_that_is_no_template_is_taken_as_it_is_and_said_so() -> None:
    text = 'web:\n  image: nginx\n  environment: {NAME: "%{{service_name}}.x"}\n'
    project = compose.load(text)
    assert project.valid
    assert project.services[0].launch_config.environment["NAME"] == "%{{service_name}}.x"
    assert "no function 'service_name'" in project.problems[0].message
    assert project.problems[0].line == 3
    assert not compose.load("# notemplating\n" + text).problems


def test_a_tpl_file_that_is_no_template_is_refused() -> None:
    project = compose.load("web:\n  image: {{ nobody }}\n", names=("docker-compose.yml.tpl", ""))
    assert [(p.line, p.column) for p in project.errors] == [(2, 13)]
    assert not project.services
