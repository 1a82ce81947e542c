"""licences"""
from headwater.observatory.questions.plan import Question
QUESTIONS: tuple[Question, ...] = ()
